package privilege

import (
	"io/fs"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

// clean is the status of a thread that has given up everything.
const clean = "Name:\tyodel\nUid:\t65534\t65534\t65534\t65534\nGid:\t100\t100\t100\t100\nGroups:\t5 100 \n" +
	"CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n" +
	"CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n"

func TestVerify(t *testing.T) {
	t.Parallel()
	to := Credentials{User: "nobody", UID: 65534, GID: 100, Groups: []uint32{100, 5}}
	all := plan{to: to, setGroups: true, emptyBounding: true}
	for _, tt := range []struct {
		name     string
		plan     plan
		old, new string // what is different in one of three threads
		want     string // the error; "" is none
	}{
		{"nothing is left", all, "", "", ""},
		{"the user", all, "Uid:\t65534\t65534\t65534", "Uid:\t65534\t65534\t0", "thread 12 still has Uid 65534 65534 0 65534 and not 65534 65534 65534 65534"},
		{"the group", all, "Gid:\t100", "Gid:\t0", "thread 12 still has Gid 0 100 100 100 and not 100 100 100 100"},
		{"a group more", all, "Groups:\t5 100 ", "Groups:\t0 5 100 ", "thread 12 still has Groups 0 5 100 and not 5 100"},
		{"no group", all, "Groups:\t5 100 ", "Groups:\t ", "thread 12 still has Groups (not shown) and not 5 100"},
		{"inheritable", all, "CapInh:\t0", "CapInh:\t1", "thread 12 still has CapInh 1000000000000000 and not 0000000000000000"},
		{"permitted", all, "CapPrm:\t00", "CapPrm:\t01", "thread 12 still has CapPrm 0100000000000000"},
		{"effective", all, "CapEff:\t00", "CapEff:\t01", "thread 12 still has CapEff 0100000000000000"},
		{"bounding", all, "CapBnd:\t00", "CapBnd:\t01", "thread 12 still has CapBnd 0100000000000000"},
		{"ambient", all, "CapAmb:\t00", "CapAmb:\t01", "thread 12 still has CapAmb 0100000000000000"},
		{"new privileges", all, "NoNewPrivs:\t1", "NoNewPrivs:\t0", "thread 12 still has NoNewPrivs 0 and not 1"},
		{"a field that the kernel does not have", all, "NoNewPrivs:\t1\n", "", "thread 12 still has NoNewPrivs (not shown) and not 1"},
		{"groups that could not be set", plan{to: to, emptyBounding: true}, "Groups:\t5", "Groups:\t4", ""},
		{"a bounding set that could not be emptied", plan{to: to, setGroups: true}, "CapBnd:\t0", "CapBnd:\t1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			other := strings.Replace(clean, tt.old, tt.new, 1)
			if other == clean && tt.old != "" {
				t.Fatal("no thread is different")
			}
			got := ""
			if fail := tt.plan.verify(threads(clean, other, clean)); fail != nil {
				got = fail.err.Error()
			}
			if !strings.HasPrefix(got, tt.want) || (tt.want == "") != (got == "") {
				t.Errorf("verify: %q, want %q", got, tt.want)
			}
		})
	}
}

// threads are the folders 11, 12, 13 … as in /proc/self/task.
func threads(statuses ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i, s := range statuses {
		m["1"+string(rune('1'+i))+"/status"] = &fstest.MapFile{Data: []byte(s)}
	}
	return m
}

// failing is a /proc in which reading fails.
type failing struct {
	fs.FS
	err error
}

func (f failing) ReadFile(string) ([]byte, error) { return nil, f.err }

func TestVerifyWhereNothingCanBeSeen(t *testing.T) {
	t.Parallel()
	p := plan{to: Credentials{UID: 1}}
	for _, tt := range []struct {
		name string
		proc fs.FS
		want string
	}{
		{"there is no /proc", os.DirFS(t.TempDir() + "/none"), "no such file"},
		{"no thread", fstest.MapFS{}, "/proc shows no thread"},
		{"reading is forbidden", failing{threads(clean), fs.ErrPermission}, "permission denied"},
		{"all threads ended", failing{threads(clean), syscall.ESRCH}, "/proc shows no thread"},
		{"all threads ended, in another way", failing{threads(clean), fs.ErrNotExist}, "/proc shows no thread"},
	} {
		fail := p.verify(tt.proc)
		if fail == nil || !strings.Contains(fail.err.Error(), tt.want) || fail.advice != "end this program" {
			t.Errorf("%s: %v, want an error with %q", tt.name, fail, tt.want)
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	const (
		root   = "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapBnd:\t000001ffffffffff\nCapEff:\t"
		person = "Uid:\t1000\t1000\t1000\t1000\nGid:\t100\t100\t100\t100\nCapBnd:\t000001ffffffffff\nCapEff:\t"
		fixed  = "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nCapBnd:\t0000000000000000\nCapEff:\t"
	)
	for _, tt := range []struct {
		name             string
		now              string
		uid, gid         uint32
		groups, bounding bool   // whether they are changed
		want             string // the failure
	}{
		{"root can do all", root + "000001ffffffffff", 1000, 100, true, true, ""},
		{"three capabilities are enough", root + "00000000000001c0", 1000, 100, true, true, ""},
		{"root in a container without CAP_SETPCAP", root + "00000000000000c0", 1000, 100, false, false, "user 0 may not do that without CAP_SETPCAP; let it have them: CapabilityBoundingSet="},
		{"the same, with nothing left to empty", fixed + "00000000000000c0", 1000, 100, true, false, ""},
		{"root without any", root + "0000000000000000", 1000, 100, false, false, "user 0 may not do that without CAP_SETUID, CAP_SETGID, CAP_SETPCAP; let it"},
		{"root without CAP_SETUID", root + "0000000000000140", 1000, 100, false, false, "user 0 may not do that without CAP_SETUID; let it"},
		{"a person to another one", person + "0000000000000000", 1001, 100, false, false, "user 1000 may not do that without CAP_SETUID, CAP_SETGID, CAP_SETPCAP; start it as root, or name the user that it runs as: 1000"},
		{"a person to itself", person + "0000000000000000", 1000, 100, false, false, ""},
		{"a person to another group", person + "0000000000000000", 1000, 101, false, false, "user 1000 may not do that without CAP_SETGID; start it as root"},
		{"a person with CAP_SETGID to another group", person + "0000000000000040", 1000, 101, true, false, ""},
		{"a person with all capabilities to itself", person + "000001ffffffffff", 1000, 100, true, true, ""},
		{"a set-user-ID program to who has called it", "Uid:\t1000\t0\t0\t0\nGid:\t100\t100\t100\t100\nCapBnd:\t1\nCapEff:\t00000000000000c0", 1000, 100, false, false, "user 1000 may not do that without CAP_SETPCAP"},
		{"no number", root + "many", 1000, 100, false, false, `the CapEff of /proc/self/status is "many"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, fail := planFrom(parseStatus(tt.now), Credentials{UID: tt.uid, GID: tt.gid})
			got := ""
			if fail != nil {
				got = (&Error{Err: fail.err, Advice: fail.advice}).Error()
			}
			if !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if p.setGroups != tt.groups || p.emptyBounding != tt.bounding {
				t.Errorf("groups %v, bounding set %v; want %v, %v", p.setGroups, p.emptyBounding, tt.groups, tt.bounding)
			}
		})
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add(clean)
	f.Add("Name:\ta\\nUid:\t0\nUid:\n:\n\nno colon\nUid:\t1 2\t 3")
	own, err := os.ReadFile("/proc/self/status")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(own))
	f.Fuzz(func(t *testing.T, text string) {
		s := parseStatus(text)
		var again strings.Builder
		for name, value := range s {
			again.WriteString(name + ":" + value + "\n")
			if strings.Contains(name, "\n") || strings.Join(strings.Fields(value), " ") != value {
				t.Errorf("%q has the field %q with %q", text, name, value)
			}
		}
		if !maps.Equal(parseStatus(again.String()), s) {
			t.Errorf("%q becomes %q, and that something else", text, again.String())
		}
	})
}
