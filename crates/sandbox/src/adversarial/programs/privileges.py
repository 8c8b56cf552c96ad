# Privileges now, and ways to gain them.
import shutil, subprocess
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    if int(status[name], 16) != 0:
        print("LEAKED", name, status[name])
if status["NoNewPrivs"].strip() != "1":
    print("LEAKED NoNewPrivs", status["NoNewPrivs"])
if status["Seccomp"].strip() != "2":
    print("LEAKED Seccomp", status["Seccomp"])
own = os.geteuid()
if own != 0:
    for name, number in (("setuid", 105), ("setgid", 106)):
        system_call(name + " 0", number, 0)
    system_call("setresuid", 117, 0, 0, 0)
    system_call("setgroups", 116, 1, (ctypes.c_uint32 * 1)(0))
system_call("chown to another", 92, b"/workspace", 65534, 65534)
shutil.copy("/usr/bin/id", "/workspace/own-id")
def setuid_binary():
    os.chmod("/workspace/own-id", 0o6755)
    said = int(subprocess.run(["/workspace/own-id", "-u"], capture_output=True).stdout)
    return said != own and said
attempt("own setuid binary", setuid_binary)
for folder in ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec"):
    for name in os.listdir(folder):
        path = folder + "/" + name
        try:
            mode = os.stat(path).st_mode
        except OSError:
            continue
        if os.path.isfile(path) and mode & 0o6000 and not os.statvfs(path).f_flag & os.ST_NOSUID:
            print("LEAKED", path, "could change the user")
for line in open("/proc/self/mountinfo"):
    fields = line.split(" - ")[0].split()
    if "nosuid" not in fields[5]:
        print("LEAKED mount", fields[4], "honours setuid")
attempt("raise a capability", lambda: call(157, 47, 2, 12, 0, 0) == 0)
attempt("unset no_new_privs", lambda: call(157, 38, 0, 0, 0, 0) == 0)
attempt("change securebits", lambda: call(157, 28, 0, 0, 0, 0) == 0)
