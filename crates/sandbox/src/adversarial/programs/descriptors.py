# What the step inherits: standard streams alone.
own = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
extra = sorted(int(name) for name in os.listdir(own) if int(name) > 2)
extra = [number for number in extra if number != own]
alive = []
for number in extra:
    try:
        alive.append((number, os.readlink("/proc/self/fd/%d" % number)))
    except OSError:
        pass
# The interpreter's own script and the listing itself are not inherited.
alive = [(number, to) for number, to in alive if not to.startswith(("/workspace/", "/proc/"))]
if alive:
    print("LEAKED descriptors", alive)
