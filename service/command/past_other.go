//go:build !linux

package command

import "net"

func countPast(net.Conn) (end func()) { return func() {} }
