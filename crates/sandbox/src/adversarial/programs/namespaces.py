# New namespaces, others' namespaces; and threads must still start.
import threading
FLAGS = {"user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "net": 0x40000000, "uts": 0x4000000,
         "ipc": 0x8000000, "cgroup": 0x2000000, "time": 0x80}
for name, flag in FLAGS.items():
    system_call("unshare " + name, 272, flag)
    system_call("unshare user with " + name, 272, flag | FLAGS["user"])
    if name != "time":
        def cloned(flag=flag):
            child = call(56, flag | signal.SIGCHLD, 0, 0, 0, 0)
            if child == 0:
                os._exit(0)
            return child
        attempt("clone " + name, cloned)
        attempt("clone user with " + name, lambda flag=flag: cloned(flag | FLAGS["user"]))
arguments = (ctypes.c_uint64 * 11)(FLAGS["user"], 0, 0, 0, signal.SIGCHLD)
def clone3():
    child = call(435, arguments, 88)
    if child == 0:
        os._exit(0)
    return child
attempt("clone3", clone3)
def setns(path):
    return lambda: ("returned", call(308, os.open(path, os.O_RDONLY), 0))
for name in ("user", "mnt", "pid", "net", "uts", "ipc", "cgroup"):
    attempt("setns own " + name, setns("/proc/self/ns/" + name))
    attempt("setns guest " + name, setns("/proc/1/ns/" + name))
done = []
thread = threading.Thread(target=lambda: done.append(1))
thread.start()
thread.join()
if not done:
    print("LEAKED nothing, but threads do not start")
