package sock

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// certificateLife is how long a certificate of SelfSigned is valid: longer than a
// server runs that could not keep its key.
const certificateLife = 2 * 365 * 24 * time.Hour

// SelfSigned makes a certificate and its key (ECDSA on P-256), in memory only, and
// returns its fingerprint too. It is valid for two years, for localhost, 127.0.0.1,
// ::1 and hosts: names or IP addresses.
//
// Nobody vouches for it: a client must know the fingerprint, from a way of its own,
// and accept that alone, see PinConfig.
func SelfSigned(hosts []string) (cert tls.Certificate, fingerprint string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	template, err := certificateFor(append([]string{"localhost", "127.0.0.1", "::1"}, hosts...))
	if err != nil {
		return tls.Certificate{}, "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, Fingerprint(der), nil
}

func certificateFor(hosts []string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 §4.1.2.2
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: hosts[len(hosts)-1]},
		NotBefore:    now.Add(-time.Hour), // for peers whose clock is slow
		NotAfter:     now.Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},

		BasicConstraintsValid: true, // not an authority: the key signs nothing else
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	return c, nil
}

// LoadCertificate reads a certificate chain and its key from PEM files and returns
// the chain's fingerprint too: that of its first certificate.
func LoadCertificate(certFile, keyFile string) (cert tls.Certificate, fingerprint string, err error) {
	cert, err = tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return cert, Fingerprint(cert.Certificate[0]), nil
}

const fingerprintPrefix = "sha256:"

// Fingerprint returns the fingerprint of a certificate in DER form: "sha256:" and the
// 64 hex digits of its SHA-256 digest.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return fingerprintPrefix + hex.EncodeToString(sum[:])
}

// ParseFingerprint reads a fingerprint, with hex digits of either case and with or
// without colons between the bytes, as openssl prints them, and returns it as
// Fingerprint does.
func ParseFingerprint(s string) (string, error) {
	digits, ok := cutPrefixFold(s, fingerprintPrefix)
	if ok && len(digits) == 3*sha256.Size-1 {
		digits = strings.ReplaceAll(digits, ":", "")
	}
	sum, err := hex.DecodeString(digits)
	if !ok || err != nil || len(sum) != sha256.Size {
		return "", fmt.Errorf("fingerprint %s: write sha256: and the 64 hex digits that the server shows", quote(s))
	}
	return fingerprintPrefix + hex.EncodeToString(sum), nil
}

// A PinError says that a server showed another certificate than the one pinned.
type PinError struct {
	Want, Got string // fingerprints; Got is empty if the server showed none
}

// Error names both fingerprints.
func (e *PinError) Error() string {
	return "the certificate is " + e.Got + ", not " + e.Want +
		": the server has made a new one, or somebody else answers"
}

// PinConfig returns a client's configuration that accepts exactly the certificate
// with this fingerprint, whatever its names, dates and issuer are, and no other. The
// handshake still proves that the server has the certificate's key.
func PinConfig(fingerprint string) (*tls.Config, error) {
	want, err := ParseFingerprint(fingerprint)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyConnection does it; it runs for resumed sessions too
		VerifyConnection: func(s tls.ConnectionState) error {
			var got string
			if len(s.PeerCertificates) > 0 {
				got = Fingerprint(s.PeerCertificates[0].Raw)
			}
			if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
				return &PinError{Want: want, Got: got}
			}
			return nil
		},
	}, nil
}

// serverTLS returns the configuration of a TLS listener, nil for other networks.
func (o *opening) serverTLS() (*tls.Config, error) {
	if o.addr.Network != "tls" {
		return nil, nil
	}
	cfg := o.opts.TLS.Clone() // nil stays nil
	if cfg == nil {
		cfg = &tls.Config{}
	}
	raiseVersion(cfg)
	if len(cfg.Certificates) > 0 || cfg.GetCertificate != nil || cfg.GetConfigForClient != nil {
		return cfg, nil
	}
	var hosts []string
	if o.addr.Host != "" {
		hosts = append(hosts, o.addr.Host)
	}
	cert, _, err := SelfSigned(hosts)
	cfg.Certificates = []tls.Certificate{cert}
	return cfg, err
}

// clientTLS returns the configuration for the handshake with a server.
func (o *opening) clientTLS() *tls.Config {
	cfg := o.opts.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	raiseVersion(cfg)
	if cfg.ServerName == "" {
		cfg.ServerName = o.addr.Host
	}
	return cfg
}

// raiseVersion rules out what RFC 8996 has deprecated, unless the caller asked for
// it by name.
func raiseVersion(cfg *tls.Config) {
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
}

func describeTLS(s tls.ConnectionState) string {
	return tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
}

func (e *HandshakeError) advice() string {
	switch {
	case isA[x509.UnknownAuthorityError](e.Err):
		return "pin its fingerprint if you know it (PinConfig), or trust its issuer (Options.TLS.RootCAs)"
	case isA[x509.HostnameError](e.Err):
		return "dial it by a name that its certificate has, or set Options.TLS.ServerName"
	case isA[tls.RecordHeaderError](e.Err):
		return "it does not speak TLS there: use tcp"
	case e.Timeout():
		return "it connects, but does not speak TLS: check the port"
	}
	return ""
}
