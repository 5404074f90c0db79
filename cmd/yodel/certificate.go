package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"yodel/sock"
)

// certificate is the certificate of a tls address: that of two files, which can be
// read again, or one that was made for this run.
type certificate struct {
	certFile, keyFile string // empty: made for this run
	now               atomic.Pointer[tls.Certificate]
}

// newCertificate reads the files, or makes a certificate if there are none.
func newCertificate(certFile, keyFile string) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile}
	switch {
	case certFile == "" && keyFile == "":
		made, _, err := sock.SelfSigned(nil)
		c.now.Store(&made)
		return c, err
	case certFile == "" || keyFile == "":
		return nil, usagef("--tls-cert and --tls-key go together")
	}
	return c, c.reload()
}

// reload reads the files again. If that fails, the certificate stays what it was.
func (c *certificate) reload() error {
	if c.certFile == "" {
		return nil
	}
	read, err := c.read()
	if err != nil {
		return err
	}
	c.now.Store(&read)
	return nil
}

// read returns what is in the files.
func (c *certificate) read() (tls.Certificate, error) {
	read, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		err = fmt.Errorf("--tls-cert %s, --tls-key %s: %w", c.certFile, c.keyFile, err)
	}
	return read, err
}

// readable returns nil if a reload could succeed as things are.
func (c *certificate) readable() error {
	if c.certFile == "" {
		return nil
	}
	_, err := c.read()
	return err
}

func (c *certificate) fingerprint() string { return sock.Fingerprint(c.now.Load().Certificate[0]) }

func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.now.Load(), nil },
	}
}
