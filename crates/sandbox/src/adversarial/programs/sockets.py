# Socket families and protocols beyond TCP, UDP and local sockets.
import socket
FAMILIES = {"AF_PACKET": 17, "AF_VSOCK": 40, "AF_ALG": 38, "AF_KEY": 15, "AF_BLUETOOTH": 31, "AF_CAN": 29, "AF_TIPC": 30,
            "AF_RDS": 21, "AF_XDP": 44, "AF_NFC": 39, "AF_QIPCRTR": 42, "AF_SMC": 43, "AF_KCM": 41, "AF_IB": 27,
            "AF_X25": 9, "AF_AX25": 3, "AF_APPLETALK": 5, "AF_RXRPC": 33, "AF_PPPOX": 24, "AF_LLC": 26, "AF_MCTP": 45}
for name, family in FAMILIES.items():
    for kind in (1, 2, 3, 5):
        system_call("%s of type %d" % (name, kind), 41, family, kind, 0)
for protocol in range(1, 24):
    for kind in (2, 3):
        system_call("netlink protocol %d" % protocol, 41, 16, kind, protocol)
for family, name in ((2, "IPv4"), (10, "IPv6")):
    for protocol in (1, 6, 17, 58, 255):
        system_call("raw %s protocol %d" % (name, protocol), 41, family, 3, protocol)
    system_call("ping " + name, 41, family, 2, 1 if family == 2 else 58)
    system_call("SCTP " + name, 41, family, 1, 132)
    system_call("MPTCP " + name, 41, family, 1, 262)
    system_call("UDP-Lite " + name, 41, family, 2, 136)
system_call("socketpair of AF_VSOCK", 53, 40, 1, 0, (ctypes.c_int * 2)())
socket.create_server(("127.0.0.1", 0)).close()
