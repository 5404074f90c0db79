package ssh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/crypto/ssh"
)

// HostKey reads the private key of path, in OpenSSH's form or PEM, without a password. If
// there is no such file an Ed25519 key is made and kept there, for its owner alone; made
// says so.
func HostKey(path string) (key ssh.Signer, made bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeHostKey(path); err != nil {
			return nil, false, err
		}
		made = true
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, false, fmt.Errorf("host key: %w", err)
	}
	if err := checkPrivate(path); err != nil {
		return nil, false, err
	}
	key, err = ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, false, fmt.Errorf("host key %s: %w", path, err)
	}
	return key, made, nil
}

// makeHostKey makes a key. The file appears whole, or is somebody else's.
func makeHostKey(path string) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "yodel")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".host-key-") // for its owner alone
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(pem.EncodeToMemory(block))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Link(f.Name(), path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("host key: %w", err)
	}
	return nil
}

// checkPrivate refuses a private key that others may read.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("host key %s: others may read it, so it is no secret; chmod 600 %s, or take another one", path, path)
	}
	return nil
}

// maxKeys is how long a file of authorized keys may be, in bytes.
const maxKeys = 1 << 20

// readKeys reads a file of authorized keys: sshd(8), AUTHORIZED_KEYS FILE FORMAT. A key
// with options is refused, since what they restrict would not be.
func readKeys(path string) (map[string]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("authorized keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("authorized keys: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("authorized keys %s: others may write to it, and so let themselves in: chmod go-w", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeys+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("authorized keys: %w", err)
	case len(text) > maxKeys:
		return nil, fmt.Errorf("authorized keys %s: more than %d bytes", path, maxKeys)
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("authorized keys %s: %w", path, err)
	}
	return keys, nil
}

// parseKeys returns the keys of a file, in the form of the wire.
func parseKeys(text []byte) (map[string]bool, error) {
	keys := make(map[string]bool)
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: no public key", n)
		case len(options) > 0:
			return nil, fmt.Errorf("line %d: options in front of a key are not obeyed here: leave them out", n)
		}
		keys[string(key.Marshal())] = true
	}
	return keys, nil
}
