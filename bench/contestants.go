package main

import (
	"fmt"
	"os"
	"slices"
)

// A contestant is an echo server.
type contestant struct {
	name    string
	source  string   // a C file, or a Go package
	program string   // in place of source: one that is installed
	args    []string // freePort stands for one
	asRoot  bool     // it is left out else
}

const freePort = "{port}"

// contestants are all; the first is the reference.
var contestants = []contestant{
	{name: "C epoll", source: "c/epoll.c"},
	{name: "C epoll tuned", source: "c/epoll.c", args: []string{"-e"}},
	{name: "C io_uring", source: "c/uring.c"},
	{name: "C io_uring waiting", source: "c/uring.c", args: []string{"-w"}},
	{name: "yodel epoll", source: "./servers/yodel", args: []string{"-engine", "epoll"}},
	{name: "yodel uring", source: "./servers/yodel", args: []string{"-engine", "uring"}},
	{name: "yodel kernel", source: "./servers/yodel", args: []string{"-engine", "kernel"}, asRoot: true},
	{name: "yodel goroutine", source: "./servers/yodel", args: []string{"-engine", "goroutine"}},
	{name: "Go net", source: "./servers/net"},
	{name: "gnet", source: "./servers/gnet", args: []string{"-port", freePort}},
	{name: "nbio", source: "./servers/nbio", args: []string{"-port", freePort}},
	{name: "netpoll", source: "./servers/netpoll"},
	{name: "evio", source: "./servers/evio", args: []string{"-port", freePort}},
}

// chosen returns the reference and the contestants that only names.
func chosen(only []string) ([]contestant, error) {
	for _, name := range only {
		if !slices.ContainsFunc(contestants, func(c contestant) bool { return c.name == name }) {
			return nil, fmt.Errorf("there is no server %q", name)
		}
	}
	var list []contestant
	for i, c := range contestants {
		if c.asRoot && os.Geteuid() != 0 {
			continue
		}
		if i == 0 || len(only) == 0 || slices.Contains(only, c.name) {
			list = append(list, c)
		}
	}
	return list, nil
}
