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
	if u.sockets, u.buffers, err = readSockstat(string(text)); err != nil {
		return u, err
	}
	u.files, err = firstNumber("/proc/sys/fs/file-nr")
	return u, err
}

// readSockstat returns what sockstat (proc_net(5)) says of TCP: how many sockets there are,
// and how many bytes of buffers they have.
func readSockstat(text string) (sockets, buffers int, err error) {
	_, tcp, _ := strings.Cut(text, "TCP:")
	words := strings.Fields(tcp) // inuse N orphan N tw N alloc N mem PAGES
	if len(words) < 10 {
		return 0, 0, fmt.Errorf("/proc/net/sockstat says of TCP: %q", tcp)
	}
	sockets, err = strconv.Atoi(words[7])
	if err != nil {
		return 0, 0, fmt.Errorf("/proc/net/sockstat, the sockets of TCP: %w", err)
	}
	pages, err := strconv.Atoi(words[9])
	if err != nil {
		return 0, 0, fmt.Errorf("/proc/net/sockstat, the memory of TCP: %w", err)
	}
	return sockets, pages * os.Getpagesize(), nil
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

// firstNumber returns the number that a file begins with.
func firstNumber(name string) (int, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\t")
	n, err := strconv.Atoi(word)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
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
	if err != nil {
		return 0, fmt.Errorf("%s, %s %w", name, field, err)
	}
	return kib << 10, nil
}
