package main

import (
	"errors"
	"fmt"
	"io/fs"

	"yodel/internal/privilege"
)

// runAs returns whom --user names, nil without it. It is asked before anything is
// opened: what will not work is said at once.
func (f *serveFlags) runAs() (*privilege.Credentials, error) {
	if !f.userGiven {
		return nil, nil
	}
	who, err := privilege.Lookup(f.user)
	if err != nil {
		return nil, usageError{fmt.Errorf("--user: %w", err)}
	}
	err = privilege.Check(who)
	switch {
	case err == nil:
		return &who, nil
	case who.UID == 0:
		return nil, usageError{fmt.Errorf("--user: %w", err)}
	}
	return nil, fmt.Errorf("--user: %w", err)
}

// dropPrivileges makes the process run as the user of --user, for good. All that takes
// more than that user may do is open by now.
func (s *server) dropPrivileges() error {
	if s.user == nil {
		return nil
	}
	if err := privilege.Drop(*s.user); err != nil {
		return fmt.Errorf("--user: %w", err)
	}
	return s.afterDrop()
}

// afterDrop looks whether that user may do what is still to come.
func (s *server) afterDrop() error {
	for _, sv := range s.served {
		if err := s.stillCan(sv); err != nil {
			return err
		}
	}
	for _, c := range s.certs {
		if err := c.readable(); err != nil {
			fmt.Fprintf(s.io.err, "yodel: SIGHUP will not reload the certificate: %v%s\n", err, s.mayNotRead(err))
		}
	}
	return nil
}

// stillCan looks whether that user may run sv's engine. If not, auto takes another.
func (s *server) stillCan(sv *served) error {
	if sv.row == nil || sv.row.probe == nil || sv.row.privileged {
		return nil
	}
	err := sv.row.probe()
	switch {
	case err == nil:
		return nil
	case s.flagsOf(sv.plan).engine == auto:
		c, err := s.engines.open(sv.plan, s.flagsOf(sv.plan), sv.cfg)
		if err != nil {
			return fmt.Errorf("as %s: %w", s.user.User, err)
		}
		sv.Close() // it has not begun
		sv.engage(c)
		return nil
	case sv.row.children:
		return fmt.Errorf("as %s: %w; let that user read and execute this program's file", s.user.User, err)
	}
	return fmt.Errorf("as %s: engine %s: %w", s.user.User, sv.engine, err)
}

// mayNotRead is what to do about err, if it comes of --user.
func (s *server) mayNotRead(err error) string {
	if s.user == nil || !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	return fmt.Sprintf("; %s (--user) must be able to read it, or start again to have the new one", s.user.User)
}

// mayNotWrite is what to do about err, if it comes of --user.
func (s *server) mayNotWrite(err error) string {
	if s.user == nil || !errors.Is(err, fs.ErrPermission) {
		return ""
	}
	return fmt.Sprintf("; make that folder and give it to %s (--user)", s.user.User)
}

// userName returns whom the server runs as, as it was asked for; "" if it was not.
func (s *server) userName() string {
	if s.user == nil {
		return ""
	}
	return s.user.User
}
