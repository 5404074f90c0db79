package command

import (
	"context"
	"net"
	"net/netip"
	"strconv"

	"yodel/internal/child"
	"yodel/trace"
)

// environ returns the environment of a program for a connection: tcp-environ(5) and, for
// IPv6 and Unix sockets, what the programs of that family's other servers are told.
//
//	PROTO                        TCP, TCP6 or UNIX
//	TCPLOCALIP, TCPLOCALPORT     where the client has called
//	TCPREMOTEIP, TCPREMOTEPORT   who has; TCPREMOTEHOST: its name, where it was looked up
//	TCP6LOCALIP …                the same once more, over IPv6
//	UNIXLOCALPATH                the path of the listening socket
//
// TCPLOCALHOST and TCPREMOTEINFO, which may be there by that page, never are.
func (c *Config) environ(ctx context.Context, nc net.Conn) []string {
	local, remote := trace.AddrPort(nc.LocalAddr()), trace.AddrPort(nc.RemoteAddr())
	if !remote.IsValid() {
		return child.Environ(unixEnviron(nc)...)
	}
	name := ""
	if c.Lookup != nil {
		name = c.Lookup(ctx, remote.Addr())
	}
	if !remote.Addr().Is6() {
		return child.Environ(append(pairEnviron("TCP", local, remote, name), "PROTO=TCP")...)
	}
	env := append(pairEnviron("TCP", local, remote, name), pairEnviron("TCP6", local, remote, name)...)
	return child.Environ(append(env, "PROTO=TCP6")...)
}

func pairEnviron(prefix string, local, remote netip.AddrPort, name string) []string {
	env := []string{
		prefix + "LOCALIP=" + local.Addr().String(), prefix + "LOCALPORT=" + strconv.Itoa(int(local.Port())),
		prefix + "REMOTEIP=" + remote.Addr().String(), prefix + "REMOTEPORT=" + strconv.Itoa(int(remote.Port())),
	}
	if name != "" {
		env = append(env, prefix+"REMOTEHOST="+name)
	}
	return env
}

func unixEnviron(nc net.Conn) []string {
	env := []string{"PROTO=UNIX"}
	if a, ok := nc.LocalAddr().(*net.UnixAddr); ok && a.Name != "" {
		env = append(env, "UNIXLOCALPATH="+a.Name)
	}
	return env
}
