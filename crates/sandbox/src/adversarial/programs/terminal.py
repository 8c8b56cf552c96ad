# Typing into the terminal for whoever reads it next.
import fcntl, termios
def push():
    fcntl.ioctl(0, termios.TIOCSTI, b"x")
    return "TIOCSTI"
attempt("TIOCSTI", push)
def linux():
    fcntl.ioctl(0, 0x541C, b"\x03")
    return "TIOCLINUX"
attempt("TIOCLINUX", linux)
