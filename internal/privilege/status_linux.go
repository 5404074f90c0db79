package privilege

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// tasks holds a folder for each thread of this process: proc_pid_task(5).
const tasks = "/proc/self/task"

// noCaps is an empty capability set in a status file.
const noCaps = "0000000000000000"

// A status is what /proc tells of a thread: each field with its words, one space
// between them. proc_pid_status(5).
type status map[string]string

func parseStatus(text string) status {
	s := status{}
	for line := range strings.Lines(text) {
		if field, value, ok := strings.Cut(line, ":"); ok {
			s[field] = strings.Join(strings.Fields(value), " ")
		}
	}
	return s
}

// ownStatus returns the status of the first thread.
func ownStatus() (status, error) {
	text, err := os.ReadFile("/proc/self/status")
	return parseStatus(string(text)), err
}

// fourTimes is a user or group as a status file shows it when the real, effective,
// saved and file system ids are all the same.
func fourTimes(id uint32) string {
	one := strconv.FormatUint(uint64(id), 10)
	return strings.Join([]string{one, one, one, one}, " ")
}

// A field is a line of a status file.
type field struct{ name, value string }

// wanted is how the status of each thread has to be in the end.
func (p plan) wanted() []field {
	want := []field{
		{"Uid", fourTimes(p.to.UID)},
		{"Gid", fourTimes(p.to.GID)},
		{"CapInh", noCaps},
		{"CapPrm", noCaps},
		{"CapEff", noCaps},
		{"CapAmb", noCaps},
		{"NoNewPrivs", "1"},
	}
	if p.setGroups {
		want = append(want, field{"Groups", groupList(p.to.Groups)})
	}
	if p.emptyBounding {
		want = append(want, field{"CapBnd", noCaps})
	}
	return want
}

// groupList returns groups as the kernel lists them: in order.
func groupList(groups []uint32) string {
	var list []string
	for _, g := range slices.Sorted(slices.Values(groups)) {
		list = append(list, strconv.FormatUint(uint64(g), 10))
	}
	return strings.Join(list, " ")
}

// verify reads the status of every thread. A thread that is made meanwhile has what
// its maker has, and a thread that has ended has nothing.
func (p plan) verify(threads fs.FS) *failure {
	ids, err := fs.ReadDir(threads, ".")
	if err != nil {
		return failed("end this program", "whether it is done cannot be seen: %w", err)
	}
	seen := 0
	for _, id := range ids {
		text, err := fs.ReadFile(threads, id.Name()+"/status")
		if gone(err) {
			continue
		}
		if err != nil {
			return failed("end this program", "whether it is done cannot be seen: %w", err)
		}
		if fail := p.compare(id.Name(), parseStatus(string(text))); fail != nil {
			return fail
		}
		seen++
	}
	if seen == 0 {
		return failed("end this program", "whether it is done cannot be seen: /proc shows no thread")
	}
	return nil
}

// gone reports whether a file of /proc could not be read because its thread ended.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// compare names the first field of a thread that is not as wanted.
func (p plan) compare(thread string, s status) *failure {
	for _, want := range p.wanted() {
		if got := s[want.name]; got != want.value {
			return failed("end this program; threads that Go has not made, as io_uring's are, keep what they were made with",
				"thread %s still has %s %s and not %s", thread, want.name, cmp.Or(got, "(not shown)"), want.value)
		}
	}
	return nil
}
