# Networks beyond the tunnel. Arguments: a TCP port and an abstract socket's name of the host.
import socket
port, abstract = int(sys.argv[1]), sys.argv[2]
interfaces = [name for _, name in socket.if_nameindex()] if hasattr(socket, "if_nameindex") else []
listed = [line.split(":")[0].strip() for line in open("/proc/net/dev").read().splitlines()[2:]]
if set(interfaces + listed) - {"lo"}:
    print("LEAKED interfaces", interfaces, listed)
routes = open("/proc/net/route").read().splitlines()[1:]
if routes:
    print("LEAKED routes", routes)
def connects(family, address):
    def attack():
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(2)
        connection.connect(address)
        return address
    return attack
for host in ("169.254.169.254", "10.0.0.1", "172.17.0.1", "192.168.0.1", "8.8.8.8", "127.0.0.1", "127.0.0.2", "0.0.0.0"):
    for where in (80, port):
        attempt("TCP %s:%d" % (host, where), connects(socket.AF_INET, (host, where)))
for host in ("::1", "fd00:ec2::254", "2001:4860:4860::8888", "::ffff:127.0.0.1"):
    attempt("TCP [%s]:%d" % (host, port), connects(socket.AF_INET6, (host, port)))
def answered(host):
    def attack():
        packet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        packet.settimeout(1)
        packet.sendto(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02gt\0\0\x01\0\x01", (host, 53))
        return packet.recv(512)
    return attack
for host in ("8.8.8.8", "1.1.1.1", "10.0.0.2", "169.254.169.253"):
    attempt("UDP to " + host, answered(host))
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket",
             "/run/systemd/private", "/tmp/.X11-unix/X0"):
    attempt("local socket " + path, connects(socket.AF_UNIX, path))
attempt("abstract socket of the host", connects(socket.AF_UNIX, "\0" + abstract))
for name in ("example.com", "metadata.google.internal", "localhost.localdomain", "host.docker.internal"):
    attempt("look up " + name, lambda: socket.gethostbyname(name))
