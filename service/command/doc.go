// Package command runs a program for each connection, with the connection as its standard
// input and output: the way of inetd and of tcpserver, whose environment it has, so that
// programs written for either run unchanged.
//
// A Server takes a net.Conn at the connection door of the engines. Where the connection is
// a socket, that socket itself is what the program gets, as descriptors 0 and 1: what it
// reads and writes is between it and the kernel, and is not limited by the engine. How many
// bytes of TCP went, the kernel is asked at the end, on Linux; elsewhere they are not
// counted. Where it is not, as with TLS, the program gets one end of a pair of Unix
// sockets, and the server carries the bytes over.
//
// How programs are run and ended is internal/child's. A program whose peer has gone (both
// directions are closed, or the connection was reset) is asked to end, with all of its
// group; one that is merely told the end of its input is left alone.
package command
