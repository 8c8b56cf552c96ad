# Files of the host, and writing where nothing may be written. Arguments: a file of the host and what is in it.
canary, secret = sys.argv[1], sys.argv[2].encode()
def reads(path):
    return lambda: secret in open(path, "rb").read() and path
climbs = "/workspace/" + "../" * 20
paths = [canary, climbs + canary, "/proc/1/root" + canary, "/proc/self/root" + canary, "/proc/1/cwd" + canary,
         "/.old_root" + canary, "/oldroot" + canary, "/stage" + canary, "/host" + canary]
for descriptor in range(3, 40):
    paths += ["/proc/self/fd/%d%s" % (descriptor, canary), "/proc/self/fd/%d/../../..%s" % (descriptor, canary)]
for number, path in enumerate(paths):
    attempt("read " + path, reads(path))
    link = "/workspace/link%d" % number
    os.symlink(path, link)
    attempt("read by link " + path, reads(link))
def hard_link():
    os.link(canary, "/workspace/hard")
    return reads("/workspace/hard")()
attempt("hard link", hard_link)
for folder in ("/", "/usr", "/usr/bin", "/bin", "/lib", "/etc", "/etc/ssl", "/dev", "/proc", "/run", "/home", "/var", "/root", "/opt"):
    def write(folder=folder):
        path = folder + "/planted"
        with open(path, "w") as file:
            file.write("x")
        return path
    attempt("write in " + folder, write)
for path in ("/etc/passwd", "/etc/resolv.conf", "/etc/hosts", "/usr/bin/env", "/etc/ld.so.cache"):
    can_open(path, os.O_WRONLY)
    attempt("remove " + path, lambda path=path: os.unlink(path) is None and path)
for path in ("/etc/shadow", "/etc/ssh/ssh_host_ed25519_key", "/root/.ssh/id_rsa", "/root/.bashrc", "/root/.cargo/credentials.toml",
             "/var/log/dpkg.log", "/var/lib/dpkg/status", "/etc/sudoers", "/etc/machine-id", "/sys/class/net", "/boot/grub/grub.cfg"):
    can_open(path)
if os.path.exists("/sys"):
    print("LEAKED /sys is there:", os.listdir("/sys"))
for name in os.listdir("/home"):
    if name != "step":
        print("LEAKED home folder", name)
