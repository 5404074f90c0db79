package netns

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// prefix begins the name of each namespace of ours; the process's number follows.
const prefix = "yodel-test-"

// sweep takes down what processes have left that were killed. It is no concern of
// the test's if that fails: another one may be doing the same.
func sweep(ip string) {
	for _, namespace := range namesIn(runDir) {
		if abandoned(namespace) {
			exec.Command(ip, "netns", "del", namespace).Run()
		}
	}
	for _, namespace := range namesIn(etcDir) {
		if abandoned(namespace) {
			os.RemoveAll(filepath.Join(etcDir, namespace))
		}
	}
}

func namesIn(dir string) []string {
	entries, _ := os.ReadDir(dir) // as many as there are
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// abandoned reports whether a namespace was made by a process that is no more.
func abandoned(namespace string) bool {
	rest, ours := strings.CutPrefix(namespace, prefix)
	owner, _, whole := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(owner)
	if !ours || !whole || err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	return errors.Is(err, fs.ErrNotExist)
}
