// Command net is an echo server as anybody writes it on package net: a goroutine and a
// buffer for each connection.
package main

import (
	"fmt"
	"log"
	"net"
)

func main() {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("port", l.Addr().(*net.TCPAddr).Port)
	for {
		nc, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(nc)
	}
}

func echo(nc net.Conn) {
	defer nc.Close()
	buf := make([]byte, 16<<10)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		if _, err := nc.Write(buf[:n]); err != nil {
			return
		}
	}
}
