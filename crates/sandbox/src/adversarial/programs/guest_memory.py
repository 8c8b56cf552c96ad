# The guest's memory, environment, descriptors and program.
for name in ("mem", "environ", "maps", "auxv", "stack", "syscall", "pagemap"):
    can_open("/proc/1/" + name)
can_open("/proc/1/mem", os.O_RDWR)
can_open("/proc/1/exe", os.O_WRONLY)
can_open("/proc/1/oom_score_adj", os.O_WRONLY)
for number in range(32):
    can_open("/proc/1/fd/%d" % number)
    can_open("/proc/1/fd/%d" % number, os.O_WRONLY)
for link in ("exe", "cwd", "root", "ns/user", "ns/mnt"):
    attempt("read the link " + link, lambda: os.readlink("/proc/1/" + link))
attempt("list /proc/1/root", lambda: os.listdir("/proc/1/root"))
attempt("list /proc/1/map_files", lambda: os.listdir("/proc/1/map_files"))
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
system_call("ptrace attach", 101, PTRACE_ATTACH, 1, 0, 0)
system_call("ptrace seize", 101, PTRACE_SEIZE, 1, 0, 0)

class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(64)
here, there = Vector(ctypes.addressof(buffer), 64), Vector(0x400000, 64)
for number, name in ((310, "process_vm_readv"), (311, "process_vm_writev")):
    system_call(name, number, 1, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
def steal():
    guest = call(434, 1, 0)
    return [call(438, guest, number, 0) for number in range(16)]
attempt("pidfd_getfd", steal)
system_call("kcmp", 312, 1, os.getpid(), 0, 0, 0)
system_call("move_pages", 279, 1, 0, 0, 0, 0, 0)
