# What /proc tells of the host, and what can be set there.
import socket
if socket.gethostname() != "sandbox":
    print("LEAKED host name", socket.gethostname())
others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid(), os.getppid())]
for name in others:
    try:
        words = open("/proc/%s/cmdline" % name).read().split("\0")
    except OSError:
        continue
    print("LEAKED process", name, words[:3])
for name in ("kcore", "keys", "key-users", "kallsyms", "kmsg", "timer_list", "sched_debug", "latency_stats", "kpagecount"):
    can_open("/proc/" + name)
for name in ("sysrq-trigger", "sys/kernel/hostname", "sys/kernel/core_pattern", "sys/kernel/modprobe", "sys/vm/panic_on_oom",
             "sys/kernel/ns_last_pid", "sys/net/ipv4/ip_forward", "sys/net/ipv4/ip_unprivileged_port_start", "sys/user/max_user_namespaces",
             "irq/default_smp_affinity", "sys/fs/binfmt_misc/register"):
    can_open("/proc/" + name, os.O_WRONLY)
text = open("/proc/self/cgroup").read()
if "sagewai" in text or "docker" in text or "process_api" in text:
    print("LEAKED cgroup path", text)
for line in open("/proc/self/mountinfo"):
    fields = line.split()
    if fields[4].startswith(("/sys", "/host", "/old", "/stage", "/skeleton", "/writable")):
        print("LEAKED mount", fields[4])
for name in ("SAGEWAI_CANARY", "CARGO"):
    if name in os.environ:
        print("LEAKED variable", name)
for path in ("/proc/1/environ", "/proc/self/environ"):
    attempt("worker's environment in " + path, lambda: "SAGEWAI_CANARY" in open(path).read())
# 1 byte is the one limit that also stops dumps into a program of the host's.
import resource
if resource.getrlimit(resource.RLIMIT_CORE) != (1, 1):
    print("LEAKED core dumps", resource.getrlimit(resource.RLIMIT_CORE))
