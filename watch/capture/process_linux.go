package capture

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// A tree is some processes with all that they have started: proc(5). Processes that
// have ended are remembered. It is safe for concurrent use.
type tree struct {
	roots []int

	mu      sync.Mutex
	members map[int]bool
}

// membersMax bounds what a tree remembers; the kernel has 4,194,304 numbers at most.
const membersMax = 1 << 16

func newTree(roots []int) *tree {
	if len(roots) == 0 {
		return nil
	}
	t := &tree{roots: roots}
	t.look()
	return t
}

// look notes the processes that there are now.
func (t *tree) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.members) > membersMax {
		t.members = nil
	}
	if t.members == nil {
		t.members = map[int]bool{}
	}
	seen := map[int]bool{}
	next := append([]int(nil), t.roots...)
	for len(next) > 0 {
		pid := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[pid] {
			continue
		}
		seen[pid], t.members[pid] = true, true
		next = append(next, children(pid)...)
	}
}

// has reports whether a process is or was one of the tree's.
func (t *tree) has(pid int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var line []int
	for p := pid; p > 1; p = parent(p) {
		if t.members[p] {
			for _, descendant := range line {
				t.members[descendant] = true
			}
			return true
		}
		line = append(line, p)
	}
	return false
}

// sockets returns the inodes of the sockets that processes of the tree have open.
func (t *tree) sockets() map[uint32]bool {
	t.look()
	t.mu.Lock()
	defer t.mu.Unlock()
	inodes := map[uint32]bool{}
	for pid := range t.members {
		found, alive := socketsOf(pid)
		if !alive && !t.root(pid) {
			continue // stays a member: its last packets may be under way
		}
		for _, inode := range found {
			inodes[inode] = true
		}
	}
	return inodes
}

func (t *tree) root(pid int) bool {
	for _, r := range t.roots {
		if r == pid {
			return true
		}
	}
	return false
}

// children returns the processes that a process has started and that live.
func children(pid int) (all []int) {
	files, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, file := range files {
		text, _ := os.ReadFile(file) // the thread may have ended
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// parent returns the process that started pid, or 0: proc_pid_stat(5).
func parent(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	return parseParent(string(text))
}

// parseParent reads the fourth field. The second one is the program's name in
// parentheses, with whatever characters it likes.
func parseParent(stat string) int {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	pid, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return pid
}

// socketsOf returns the inodes of a process's sockets; alive is false if it can't be
// looked into.
func socketsOf(pid int) (inodes []uint32, alive bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	f, err := os.Open(dir)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		target, err := os.Readlink(dir + "/" + name)
		if err != nil {
			continue
		}
		if inode, ok := parseSocketLink(target); ok {
			inodes = append(inodes, inode)
		}
	}
	return inodes, true
}

// parseSocketLink reads "socket:[12345]".
func parseSocketLink(target string) (inode uint32, ok bool) {
	number, ok := strings.CutPrefix(target, "socket:[")
	number, closed := strings.CutSuffix(number, "]")
	v, err := strconv.ParseUint(number, 10, 32)
	return uint32(v), ok && closed && err == nil
}
