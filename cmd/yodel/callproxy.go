package main

import (
	"net/netip"

	"yodel/sock"
)

// proxyVersions are the values of --proxy.
var proxyVersions = map[string]int{"v1": 1, "v2": 2}

// setProxy sets what --proxy and --proxy-source ask for.
func (c *calling) setProxy(opts *sock.Options) error {
	switch {
	case c.proxy == "" && c.proxySource != "":
		return usagef("--proxy-source says what the header of --proxy tells: give both")
	case c.proxy == "":
		return nil
	case c.to.Network == "udp":
		return usagef("--proxy begins a connection, and UDP makes none")
	}
	var ok bool
	if opts.ProxyHeader, ok = proxyVersions[c.proxy]; !ok {
		return usagef("--proxy=%s: the PROXY protocol has the versions v1 and v2", c.proxy)
	}
	if c.proxySource == "" {
		return nil
	}
	var err error
	if opts.ProxySource, err = netip.ParseAddrPort(c.proxySource); err != nil {
		return usagef("--proxy-source %q: write an IP address and a port, as 192.0.2.1:51213 or [2001:db8::1]:51213", c.proxySource)
	}
	return nil
}
