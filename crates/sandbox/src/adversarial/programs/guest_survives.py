# Signals to the guest, and its limits.
for number in (1, 2, 3, 9, 15, 19, 6, 11):
    try:
        os.kill(1, number)
    except OSError:
        pass
def stopped():
    text = open("/proc/1/stat").read().rsplit(")", 1)[1].split()[0]
    return text in "TtZX" and text
attempt("stop the guest", stopped)
# RLIMIT_CPU, RLIMIT_NOFILE: the one would end the guest, the other make it deaf.
for resource in (0, 7):
    system_call("prlimit of the guest", 302, 1, resource, (ctypes.c_uint64 * 2)(0, 0), 0)
