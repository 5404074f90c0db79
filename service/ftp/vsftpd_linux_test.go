package ftp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"yodel/yodeltest"
)

// The benchmarks measure this server beside vsftpd, in pairs: the same client gets or puts
// the same file, which is in memory, at the one and at the other, by turns; who is first
// changes too. One operation is a pair. They report how many bytes each moves for a second
// of its processors' time, in all its processes and threads, and of the quotients the
// median, the least and the most; more than 1 is better than vsftpd. Files are in TMPDIR.
//
//	go test -run='^$' -bench=Vsftpd -benchtime=15x ./service/ftp

const (
	gibibyte = 1 << 30
	fileSize = gibibyte / 4
)

func BenchmarkVsftpdRETR(b *testing.B) { besideVsftpd(b, retrieveAll) }
func BenchmarkVsftpdSTOR(b *testing.B) { besideVsftpd(b, storeAll) }

// A measured is a server in processes of its own.
type measured struct {
	*rig
	pid int
}

func besideVsftpd(b *testing.B, move func(c *client)) {
	ours, theirs := measuredOurs(b), measuredVsftpd(b)
	theirs.rate(b, move) // to warm both up
	ours.rate(b, move)
	var mine, their, quotients []float64
	for b.Loop() {
		var t, m float64
		if len(quotients)%2 == 0 {
			t = theirs.rate(b, move)
			m = ours.rate(b, move)
		} else {
			m = ours.rate(b, move)
			t = theirs.rate(b, move)
		}
		mine, their, quotients = append(mine, m), append(their, t), append(quotients, m/t)
	}
	b.ReportMetric(median(mine)/gibibyte, "GiB/cpu-s")
	b.ReportMetric(median(their)/gibibyte, "vsftpd-GiB/cpu-s")
	b.ReportMetric(median(quotients), "quotient")
	b.ReportMetric(quotients[0], "least")
	b.ReportMetric(quotients[len(quotients)-1], "most")
}

// median sorts list and returns what is in the middle.
func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// rate returns how many bytes the server moves for a second of CPU time.
func (m *measured) rate(b *testing.B, move func(c *client)) float64 {
	c := m.connect()
	defer c.nc.Close()
	c.nc.SetDeadline(time.Now().Add(5 * time.Minute))
	c.want("the greeting", "220")
	c.talk(talk{{"USER anonymous", "331"}, {"PASS x", "230"}, {"TYPE I", "200"}})
	before := cpuOf(b, m.pid)
	move(c)
	used := cpuOf(b, m.pid) - before
	c.do("QUIT", "221")
	return fileSize / used.Seconds()
}

func retrieveAll(c *client) {
	nc := c.data()
	nc.SetDeadline(time.Now().Add(5 * time.Minute))
	c.do("RETR big", "150")
	n, err := io.Copy(io.Discard, nc)
	if n != fileSize || err != nil {
		c.t.Fatalf("retrieved %d bytes, %v", n, err)
	}
	nc.Close()
	c.want("behind RETR", "226")
}

func storeAll(c *client) {
	nc := c.data()
	nc.SetDeadline(time.Now().Add(5 * time.Minute))
	c.do("STOR up/new", "150")
	buf := make([]byte, 256<<10)
	for range fileSize / len(buf) {
		if _, err := nc.Write(buf); err != nil {
			c.t.Fatal(err)
		}
	}
	nc.Close()
	c.want("behind STOR", "226")
	c.do("DELE up/new", "250")
}

// bigFolder returns a folder with a file of fileSize bytes, and one that everybody may write
// to.
func bigFolder(b *testing.B) string {
	root := b.TempDir()
	if err := os.Mkdir(filepath.Join(root, "up"), 0o777); err != nil {
		b.Fatal(err)
	}
	os.Chmod(filepath.Join(root, "up"), 0o777)
	f, err := os.Create(filepath.Join(root, "big"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(fileSize); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil { // into memory
		b.Fatal(err)
	}
	return root
}

func measuredOurs(b *testing.B) *measured {
	r, cmd := alone(b, bigFolder(b), nil)
	return &measured{rig: r, pid: cmd.Process.Pid}
}

func measuredVsftpd(b *testing.B) *measured {
	yodeltest.NeedRoot(b)
	program := yodeltest.NeedProgram(b, "vsftpd")
	root, dir := bigFolder(b), b.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf(`listen=YES
listen_address=127.0.0.1
listen_port=%d
background=NO
anonymous_enable=YES
no_anon_password=NO
anon_root=%s
ftp_username=daemon
anon_world_readable_only=NO
anon_upload_enable=YES
anon_other_write_enable=YES
write_enable=YES
secure_chroot_dir=%s
xferlog_enable=NO
seccomp_sandbox=NO
`, addr.Port, root, dir)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(program, conf)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if nc, err := net.Dial("tcp", addr.String()); err == nil {
			nc.Close()
			break
		}
	}
	return &measured{rig: &rig{t: b, addr: addr.String(), root: root}, pid: cmd.Process.Pid}
}

// cpuOf returns the CPU time of a process and of all below it that are there.
func cpuOf(b *testing.B, pid int) (sum time.Duration) {
	b.Helper()
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		parent, _ := strconv.Atoi(fields[1])
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		children[parent] = append(children[parent], child)
	}
	for all := []int{pid}; len(all) > 0; all = all[1:] {
		all = append(all, children[all[0]]...)
		sum += cpuOfOne(all[0])
	}
	return sum
}

// cpuOfOne reads what each thread has used, in nanoseconds.
func cpuOfOne(pid int) (sum time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range threads {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		var ns int64
		fmt.Fscan(bufio.NewReader(f), &ns)
		f.Close()
		sum += time.Duration(ns)
	}
	return sum
}
