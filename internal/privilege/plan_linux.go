package privilege

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A plan is which steps are to be taken.
type plan struct {
	to            Credentials
	setGroups     bool
	emptyBounding bool
}

// newPlan looks at the process as it is, and returns a failure if it cannot become c.
func newPlan(c Credentials) (plan, *failure) {
	if fail := notRoot(c); fail != nil {
		return plan{}, fail
	}
	if err := reachable(); err != nil {
		return plan{}, &failure{
			err:    fmt.Errorf("this program was built with cgo, whose threads are out of reach: %w", errors.ErrUnsupported),
			advice: "build it with CGO_ENABLED=0, or have it started as that user",
		}
	}
	now, err := ownStatus()
	if err != nil {
		return plan{}, &failure{err, "mount /proc: what has become of each thread is read there"}
	}
	return planFrom(now, c)
}

// planFrom decides from the status that the process has now.
func planFrom(now status, c Credentials) (plan, *failure) {
	effective, err := strconv.ParseUint(now["CapEff"], 16, 64)
	if err != nil {
		return plan{}, failed("", "the CapEff of /proc/self/status is %q", now["CapEff"])
	}
	can := func(c uint) bool { return effective>>c&1 == 1 }
	p := plan{to: c, setGroups: can(unix.CAP_SETGID), emptyBounding: can(unix.CAP_SETPCAP)}
	sameUser := now["Uid"] == fourTimes(c.UID)
	if sameUser && now["Gid"] == fourTimes(c.GID) {
		return p, nil // with the groups that it has, if it may not change them
	}
	var lacks []string
	if !sameUser && !can(unix.CAP_SETUID) {
		lacks = append(lacks, "CAP_SETUID")
	}
	if !p.setGroups {
		lacks = append(lacks, "CAP_SETGID")
	}
	if !p.emptyBounding && !sameUser && now["CapBnd"] != noCaps {
		lacks = append(lacks, "CAP_SETPCAP")
	}
	if lacks == nil {
		return p, nil
	}
	return plan{}, mayNot(now, lacks)
}

// mayNot is the failure of a process that lacks capabilities.
func mayNot(now status, lacks []string) *failure {
	uid, _, _ := strings.Cut(now["Uid"], " ")
	advice := "start it as root, or name the user that it runs as: " + uid
	if uid == "0" {
		advice = "let it have them: CapabilityBoundingSet= in a systemd unit, --cap-add in a container"
	}
	return failed(advice, "user %s may not do that without %s", uid, strings.Join(lacks, ", "))
}
