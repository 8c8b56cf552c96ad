# Parts of the kernel that a step has no business with.
import mmap
zeros = (ctypes.c_uint64 * 32)()
for name, number, arguments in (
    ("io_uring_setup", 425, (8, zeros)), ("io_uring_enter", 426, (0, 0, 0, 0, 0, 0)), ("io_uring_register", 427, (0, 0, 0, 0)),
    ("bpf map", 321, (0, (ctypes.c_uint32 * 32)(2, 4, 4, 1), 72)), ("userfaultfd", 323, (0,)), ("userfaultfd user mode", 323, (1,)),
    ("add_key", 248, (b"user", b"x", b"y", 1, -3)), ("request_key", 249, (b"user", b"x", 0, 0)),
    ("keyctl session", 250, (1, 0)), ("keyctl id", 250, (0, -3, 1)), ("kexec_load", 246, (0, 0, 0, 0)),
    ("kexec_file_load", 320, (-1, -1, 0, 0, 0)), ("init_module", 175, (zeros, 0, b"")), ("delete_module", 176, (b"x", 0)),
    ("finit_module", 313, (0, b"", 0)), ("iopl", 172, (3,)), ("ioperm", 173, (0x80, 1, 1)), ("reboot", 169, (0, 0, 0, 0)),
    ("settimeofday", 164, (zeros, 0)), ("clock_settime", 227, (0, zeros)), ("sethostname", 170, (b"x", 1)),
    ("syslog read", 103, (3, zeros, 8)), ("acct", 163, (0,)), ("modify_ldt", 154, (0, zeros, 8)),
    ("lookup_dcookie", 212, (0, zeros, 8)), ("nfsservctl", 180, (0, 0, 0)), ("vhangup", 153, ()),
):
    system_call(name, number, *arguments)
attribute = (ctypes.c_uint32 * 32)(1, 128)
system_call("perf_event_open", 298, attribute, 0, -1, -1, 0)
def by_handle():
    handle = ctypes.create_string_buffer(136)
    ctypes.memmove(handle, (ctypes.c_uint32 * 2)(128, 0), 8)
    mount = ctypes.c_int()
    call(303, -100, b"/usr", handle, ctypes.byref(mount), 0)
    return call(304, os.open("/usr", os.O_RDONLY), handle, 0)
attempt("open_by_handle_at", by_handle)
def machine_code(code):
    memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    result = function()
    return ("returned", result) if 0 < result < 1 << 22 else None
# getpid by the 32-bit table: mov eax, 20; int 0x80; ret
attempt("i386 system call", lambda: machine_code(b"\xb8\x14\0\0\0\xcd\x80\xc3"))
# getpid by the x32 table: mov eax, 0x40000027; syscall; ret
attempt("x32 system call", lambda: machine_code(b"\xb8\x27\0\0\x40\x0f\x05\xc3"))
