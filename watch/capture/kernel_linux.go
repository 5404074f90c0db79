package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// programs is the part of a capture ByKernel that lives in the kernel. It goes away
// with the process, however that ends.
type programs struct {
	*tables
	attached []link.Link
	events   *ringbuf.Reader // nil without exact
	heard    sync.WaitGroup
}

// newPrograms loads the tables and the programs that fill them, and starts these. The
// order matters: a socket's end must be noted before its flows are.
func newPrograms(k *keeper, network uint64, s *selection, devices []device) (_ *programs, err error) {
	t, err := newTables(network)
	if err != nil {
		return nil, err
	}
	p := &programs{tables: t}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if err := p.noteSockets(k); err != nil {
		return nil, err
	}
	return p, p.markAll(k.uid, s, devices)
}

// markAll starts the program that marks on each interface.
func (p *programs) markAll(uid uint32, s *selection, devices []device) error {
	loaded := map[LinkType]*ebpf.Program{}
	defer func() {
		for _, mark := range loaded {
			mark.Close() // the links hold it
		}
	}()
	for _, d := range devices {
		kind := d.linkType()
		if loaded[kind] == nil {
			mark, err := loadProgram(ebpf.SchedCLS, ebpf.AttachTCXEgress, "yodel_mark", p.mark(uid, s, kind == Ethernet))
			if err != nil {
				return err
			}
			loaded[kind] = mark
		}
		if err := p.attach(loaded[kind], d); err != nil {
			return err
		}
	}
	return nil
}

func (p *programs) attach(mark *ebpf.Program, d device) error {
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: d.Index, Program: mark, Attach: ebpf.AttachTCXEgress, Anchor: link.Head(),
	})
	if errors.Is(err, unix.ENODEV) {
		return nil // it went away meanwhile
	}
	if err != nil {
		return fmt.Errorf("attach the BPF program to %s: %w", d.Name, err)
	}
	p.attached = append(p.attached, l)
	return nil
}

// noteSockets has the kernel tell when sockets are closed, when ports are bound, and,
// where it matters, which process makes a socket. For that it must see the sockets of all
// processes: only at the root of all control groups is that so. Without it the list of
// sockets is looked at often, and each datagram is proved by it.
func (p *programs) noteSockets(k *keeper) error {
	root, ok := rootGroup()
	if !ok {
		return nil
	}
	defer unix.Close(root)
	path := fmt.Sprintf("/proc/self/fd/%d", root)
	var err error
	if p.events, err = ringbuf.NewReader(p.tables.events); err != nil {
		return fmt.Errorf("read the BPF ring of events: %w", err)
	}
	p.heard.Go(func() { hear(p.events, k) })
	type program struct {
		name   string
		attach ebpf.AttachType
		code   asm.Instructions
	}
	all := []program{
		{"yodel_release", ebpf.AttachCgroupInetSockRelease, p.release()},
		{"yodel_bind4", ebpf.AttachCGroupInet4PostBind, p.notePort(k.uid)},
		{"yodel_bind6", ebpf.AttachCGroupInet6PostBind, p.notePort(k.uid)},
	}
	if k.tree != nil {
		ns, err := ownPIDNamespace()
		if err != nil {
			return err
		}
		all = append(all, program{"yodel_create", ebpf.AttachCGroupInetSockCreate, p.create(k.uid, ns)})
	}
	for _, one := range all {
		if err := p.join(path, one.name, one.attach, one.code); err != nil {
			return err
		}
	}
	p.exact = true
	return nil
}

// join attaches a program to a control group.
func (p *programs) join(path, name string, attach ebpf.AttachType, code asm.Instructions) error {
	loaded, err := loadProgram(ebpf.CGroupSock, attach, name, code)
	if err != nil {
		return err
	}
	defer loaded.Close() // the link holds it
	l, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: attach, Program: loaded})
	if err != nil {
		return fmt.Errorf("attach the BPF program %s to the root of all control groups: %w", name, err)
	}
	p.attached = append(p.attached, l)
	return nil
}

// hear takes events until the reader is closed.
func hear(events *ringbuf.Reader, k *keeper) {
	var r ringbuf.Record
	for events.ReadInto(&r) == nil {
		if len(r.RawSample) < 8 {
			continue
		}
		switch binary.NativeEndian.Uint32(r.RawSample) {
		case eventMade:
			k.tree.has(int(binary.NativeEndian.Uint32(r.RawSample[4:])))
		case eventBound:
			k.nudge()
		}
	}
}

// rootGroup opens the root of all control groups: cgroups(7). Where it is not mounted, as
// in a shell of ip-netns(8), root mounts it where nobody else sees it, for as long as the
// descriptor is open.
func rootGroup() (fd int, ok bool) {
	for _, path := range mountedGroups() {
		if fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
			if isRootGroup(fd) {
				return fd, true
			}
			unix.Close(fd)
		}
	}
	fd, err := mountGroups()
	if err != nil {
		return -1, false
	}
	if !isRootGroup(fd) { // it is that of a container
		unix.Close(fd)
		return -1, false
	}
	return fd, true
}

func isRootGroup(fd int) bool {
	const rootInode = 1
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Ino == rootInode
}

// mountedGroups returns where control groups of version 2 are mounted, whole.
func mountedGroups() (paths []string) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before) // proc_pid_mountinfo(5)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) >= 5 && fields[3] == "/" {
			paths = append(paths, fields[4])
		}
	}
	return paths
}

// mountGroups mounts control groups at no place: fsopen(2), fsmount(2).
func mountGroups() (fd int, err error) {
	context, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	fd, err = unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	return fd, os.NewSyscallError("fsmount", err)
}

// guard loads the filter and gives it to the ring for good.
func (p *programs) guard(r *ring, s *selection, snap int) error {
	filter, err := loadProgram(ebpf.SocketFilter, 0, "yodel_filter", p.filter(s, uint32(snap)))
	if err != nil {
		return err
	}
	defer filter.Close() // the socket holds it
	err = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, filter.FD())
	if err != nil {
		return os.NewSyscallError("setsockopt SO_ATTACH_BPF", err)
	}
	return r.lock()
}

func (p *programs) close() error {
	var errs []error
	for _, l := range p.attached {
		errs = append(errs, l.Close())
	}
	p.attached = nil
	if p.events != nil {
		errs = append(errs, p.events.Close())
		p.heard.Wait()
	}
	return errors.Join(append(errs, p.tables.close())...)
}

// watch says on which interfaces packets are looked at.
func (t *tables) watch(devices []device) error {
	for _, d := range devices {
		if err := t.links.Put(uint32(d.Index), d.value()); err != nil {
			return fmt.Errorf("BPF map of interfaces: %w", err)
		}
	}
	return nil
}

// ownNetwork reports whether the users of the network namespace are numbered as this
// process's are: whether both are of one user namespace.
func ownNetwork() (bool, error) {
	network, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, os.NewSyscallError("open /proc/thread-self/ns/net", err)
	}
	defer unix.Close(network)
	owner, err := unix.IoctlRetInt(network, unix.NS_GET_USERNS)
	if err != nil {
		return false, os.NewSyscallError("ioctl NS_GET_USERNS", err)
	}
	defer unix.Close(owner)
	var theirs, ours unix.Stat_t
	if err := unix.Fstat(owner, &theirs); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if err := unix.Stat("/proc/self/ns/user", &ours); err != nil {
		return false, os.NewSyscallError("stat /proc/self/ns/user", err)
	}
	return theirs.Dev == ours.Dev && theirs.Ino == ours.Ino, nil
}
