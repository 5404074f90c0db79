package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// kernelUse is what the kernel has in use, most of it in bytes.
type kernelUse struct {
	slab, available int
	buffers         int // of TCP, which net.ipv4.tcp_mem limits
	sockets, files  int
}

func readKernelUse() (u kernelUse, err error) {
	if u.slab, err = memory("Slab:"); err != nil {
		return u, err
	}
	if u.available, err = memory("MemAvailable:"); err != nil {
		return u, err
	}
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return u, err
	}
	_, tcp, _ := strings.Cut(string(text), "TCP:")
	words := strings.Fields(tcp) // inuse N orphan N tw N alloc N mem PAGES
	if len(words) < 10 {
		return u, fmt.Errorf("/proc/net/sockstat says of TCP: %q", tcp)
	}
	u.sockets, _ = strconv.Atoi(words[7])
	pages, _ := strconv.Atoi(words[9])
	u.buffers = pages * os.Getpagesize()
	u.files, _ = strconv.Atoi(firstWord("/proc/sys/fs/file-nr"))
	return u, nil
}

// since says what n connections have added, both ends together.
func (u kernelUse) since(before kernelUse, n int) string {
	return fmt.Sprintf("the kernel's slabs have grown by %d bytes for each pair of sockets, and what the machine has available has shrunk by %d, processes included\n",
		(u.slab-before.slab)/n, (before.available-u.available)/n) +
		fmt.Sprintf("TCP has %d sockets and %.1f MiB of buffers in use; the system has %d open files\n",
			u.sockets, float64(u.buffers)/(1<<20), u.files)
}

// limits says what the system allows that so many connections might come up against.
func limits() string {
	var list []string
	for _, name := range []string{"fs.file-max", "fs.epoll.max_user_watches", "net.ipv4.tcp_mem", "net.netfilter.nf_conntrack_max", "vm.max_map_count", "net.ipv4.ip_local_port_range"} {
		text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
		if err == nil {
			list = append(list, name+" is "+strings.Join(strings.Fields(string(text)), " "))
		}
	}
	return strings.Join(list, ", ")
}

func firstWord(name string) string {
	text, _ := os.ReadFile(name)
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
	return word
}

// memory returns a field of proc_meminfo(5) in bytes.
func memory(field string) (int, error) { return kibOf("/proc/meminfo", field) }

// kibOf returns a field of a file of the kernel's that is in kB, in bytes.
func kibOf(name, field string) (int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), field)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0, fmt.Errorf("%s has no %s", name, field)
	}
	kib, err := strconv.Atoi(words[0])
	return kib << 10, err
}
