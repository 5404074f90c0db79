package programs

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"yodel/yodeltest"
)

func TestNobodyIsNotRoot(t *testing.T) {
	t.Parallel()
	if u := Nobody(); os.Geteuid() == 0 && (u == nil || u.UID == 0) || os.Geteuid() != 0 && u != nil {
		t.Errorf("%+v", u)
	}
}

func TestLogForgets(t *testing.T) {
	t.Parallel()
	var l Log
	io.WriteString(&l, "hello")
	if l.String() != "hello" {
		t.Errorf("%q", &l)
	}
	if l.Forget(); l.String() != "" {
		t.Errorf("%q", &l)
	}
}

func TestWantGoneWaits(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		in.Close()
		cmd.Wait()
	}()
	WantGone(t, []int{cmd.Process.Pid})
}

// What a session leaves behind is seen: each of these, and not what it gives back.
func TestWhatIsLeftIsSeen(t *testing.T) {
	var open []*os.File
	file := func(name string) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			yodeltest.Skip(t, err.Error(), "run it where /dev has null and ptmx, with a devpts of its own (mount -t devpts -o newinstance,ptmxmode=0666)")
		}
		open = append(open, f)
	}
	s := Sessions{Settle: func() {}}
	before := s.held(t)
	file("/dev/null")
	file("/dev/ptmx")
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kept := make([]byte, 8<<20)
	during := s.held(t)
	if during.Descriptors < before.Descriptors+2 || during.Terminals != before.Terminals+1 || during.Children == "" || during.Heap < before.Heap+memoryLeft {
		t.Errorf("%+v, before %+v", during, before)
	}
	if kept[0] = 1; !strings.HasSuffix(during.Resident, " kB") {
		t.Errorf("%q", during.Resident)
	}
	for _, f := range open {
		f.Close()
	}
	cmd.Wait()
	(&Sessions{N: 3, AtOnce: 2, Session: func(testing.TB, int) {}, Settle: func() {}}).LeaveNothing(t)
}
