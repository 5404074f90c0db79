package privilege

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An order is what a test tells its child to do, and a report is what came of it. Both
// are lines of JSON.
type (
	order struct {
		Do   string // a name of orders
		Args []string
	}
	report struct {
		Error       string            // why the order was not carried out
		Unsupported bool              // the error is errors.ErrUnsupported
		Took        time.Duration     // drop
		Text        string            // lookup: the credentials; run: what the program said
		Results     map[string]string // try: the error of each attempt, "" if it succeeded
	}
)

// play runs in the child.
func play(role string) int {
	switch role {
	case "server":
		return serveOrders()
	case "status":
		text, err := os.ReadFile("/proc/self/status")
		fmt.Print(string(text))
		if err != nil {
			return 1
		}
		return 0
	}
	return 2
}

func serveOrders() int {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var o order
		if in.Decode(&o) != nil {
			return 0 // the test closed the pipe
		}
		var r report
		if err := orders[o.Do](o.Args, &r); err != nil {
			r.Error, r.Unsupported = err.Error(), errors.Is(err, errors.ErrUnsupported)
		}
		if out.Encode(r) != nil {
			return 1
		}
	}
}

var orders = map[string]func(args []string, r *report) error{
	"mount":   mountOver,
	"listen":  listenAndGreet,
	"lose":    loseSetPCap,
	"cling":   cling,
	"busy":    beBusy,
	"lookup":  lookupUser,
	"check":   checkOnly,
	"drop":    dropTo,
	"threads": moreThreads,
	"try":     tryAll,
	"run":     runProgram,
}

// mountOver hides a file behind another, in the mount namespace of this process.
func mountOver(args []string, _ *report) error {
	return unix.Mount(args[0], args[1], "", unix.MS_BIND, "")
}

// listenAndGreet sends a word to each client.
func listenAndGreet(args []string, _ *report) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "hello from user %d\n", os.Getuid())
			conn.Close()
		}
	}()
	return nil
}

// setCaps gives all threads these effective, permitted and inheritable capabilities.
func setCaps(effective, inheritable uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		data[i].Effective = uint32(effective >> (32 * i))
		data[i].Permitted = data[i].Effective
		data[i].Inheritable = uint32(inheritable >> (32 * i))
	}
	return errno(syscall.AllThreadsSyscall(unix.SYS_CAPSET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data)), 0))
}

// loseSetPCap leaves this process without CAP_SETPCAP.
func loseSetPCap([]string, *report) error {
	now, err := ownStatus()
	if err != nil {
		return err
	}
	var effective uint64
	if _, err := fmt.Sscanf(now["CapEff"], "%x", &effective); err != nil {
		return err
	}
	return setCaps(effective&^(1<<unix.CAP_SETPCAP), 0)
}

// cling makes capabilities stay where they can: inheritable and ambient ones, and
// securebits which tell the kernel not to clear any when the user changes.
func cling([]string, *report) error {
	const bind = 1 << unix.CAP_NET_BIND_SERVICE
	const needed = bind | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	const noSetuidFixup, keepCaps = 1 << 2, 1 << 4
	return errors.Join(
		setCaps(needed, bind),
		errno(syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT,
			unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE, 0, 0, 0)),
		prctl(unix.PR_SET_SECUREBITS, noSetuidFixup|keepCaps),
	)
}

// beBusy has threads that sit in a system call, and others that come and go, for as
// long as the child lives.
func beBusy([]string, *report) error {
	for range 4 {
		var ends [2]int
		if err := syscall.Pipe(ends[:]); err != nil {
			return err
		}
		go func() {
			runtime.LockOSThread()
			syscall.Read(ends[0], make([]byte, 1)) // for ever
		}()
	}
	var made atomic.Int32
	for range 2 {
		go func() {
			for {
				done := make(chan bool)
				go func() {
					defer close(done)
					runtime.LockOSThread() // without an unlock the thread ends with its goroutine
					made.Add(1)
				}()
				<-done
			}
		}()
	}
	for made.Load() < 20 {
		runtime.Gosched()
	}
	return nil
}

func lookupUser(args []string, r *report) error {
	who, err := Lookup(args[0])
	if err == nil {
		r.Text = who.String()
	}
	return err
}

func checkOnly(args []string, _ *report) error {
	who, err := Lookup(args[0])
	if err != nil {
		return err
	}
	return Check(who)
}

func dropTo(args []string, r *report) error {
	who, err := Lookup(args[0])
	if err != nil {
		return err
	}
	began := time.Now()
	err = Drop(who)
	r.Took = time.Since(began)
	return err
}

// moreThreads makes eight threads that stay.
func moreThreads([]string, *report) error {
	started := make(chan bool)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			started <- true
			select {}
		}()
	}
	for range 8 {
		<-started
	}
	return nil
}

// attempts are ways back. The test says in which way each has to fail.
var attempts = map[string]func() error{
	"setuid 0":         func() error { return syscall.Setuid(0) },
	"setresuid -1 0 0": func() error { return syscall.Setresuid(-1, 0, 0) },
	"setgid 0":         func() error { return syscall.Setgid(0) },
	"setgroups 0":      func() error { return syscall.Setgroups([]int{0}) },
	"capset":           func() error { return setCaps(1<<unix.CAP_NET_BIND_SERVICE, 0) },
	"capset inherited": func() error { return setCaps(0, 1<<unix.CAP_NET_BIND_SERVICE) },
	"ambient": func() error {
		return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_BIND_SERVICE, 0, 0)
	},
	"securebits":      func() error { return unix.Prctl(unix.PR_SET_SECUREBITS, 0, 0, 0, 0) },
	"no_new_privs 0":  func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) },
	"/etc/shadow":     func() error { return opened(os.Open("/etc/shadow")) },
	"write /etc":      func() error { return opened(os.Create("/etc/yodel-privilege-test")) },
	"/proc/1/environ": func() error { return opened(os.Open("/proc/1/environ")) },
	"kill 1":          func() error { return syscall.Kill(1, 0) },
	"chroot":          func() error { return syscall.Chroot("/") },
	"raw socket":      func() error { return socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
	"packet socket":   func() error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"bind 81": func() error {
		l, err := net.Listen("tcp", "127.0.0.1:81")
		if err == nil {
			l.Close()
		}
		return err
	},
}

func opened(f *os.File, err error) error {
	if err == nil {
		f.Close()
	}
	return err
}

func socket(domain, kind, protocol int) error {
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func tryAll(_ []string, r *report) error {
	r.Results = map[string]string{}
	for name, attempt := range attempts {
		r.Results[name] = ""
		if err := attempt(); err != nil {
			r.Results[name] = err.Error()
		}
	}
	return nil
}

// runProgram runs a program; this one prints its status.
func runProgram(args []string, r *report) error {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{childRole + "=status"}
	text, err := cmd.Output()
	r.Text = string(text)
	return err
}

// threadsOf returns the status of each thread of a process, read from outside and with
// eyes of its own.
func threadsOf(pid int) (map[string]map[string]string, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return nil, err
	}
	threads := map[string]map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		threads[filepath.Base(filepath.Dir(path))] = fieldsOf(string(text))
	}
	return threads, nil
}

// fieldsOf leaves the tabs in: "0\t0\t0\t0".
func fieldsOf(text string) map[string]string {
	fields := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		name, value, _ := strings.Cut(line, ":\t")
		fields[name] = value
	}
	return fields
}
