package web

import (
	"net"
	"net/http"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// target is a program that a request asks for, and what of the path follows it.
type target struct {
	name string // below the folder of programs, with slashes
	info string // PATH_INFO: empty, or from a slash on
}

func (t target) script() string { return cgiPrefix + t.name }

// meta returns the meta-variables of RFC 3875 §4.1, and those that all servers have
// besides. folder is where programs are and root where files are, "" for none. AUTH_TYPE,
// REMOTE_USER and REMOTE_IDENT are not set: who the client is was not asked.
func meta(r *http.Request, t target, folder, root string) []string {
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1",
		"SERVER_SOFTWARE=yodel",
		"SERVER_PROTOCOL=" + r.Proto,
		"REQUEST_METHOD=" + r.Method,
		"REQUEST_URI=" + r.URL.RequestURI(),
		"SCRIPT_NAME=" + t.script(),
		"SCRIPT_FILENAME=" + filepath.Join(folder, filepath.FromSlash(t.name)),
		"QUERY_STRING=" + r.URL.RawQuery,
		"PATH_INFO=" + t.info,
	}
	if root != "" {
		env = append(env, "DOCUMENT_ROOT="+root)
	}
	if root != "" && t.info != "" { // §4.1.6: what the rest of the path would be as a file
		env = append(env, "PATH_TRANSLATED="+filepath.Join(root, filepath.FromSlash(path.Clean("/"+t.info))))
	}
	env = append(env, peerMeta(r)...)
	env = append(env, bodyMeta(r)...)
	return append(env, headerMeta(r)...)
}

func peerMeta(r *http.Request) []string {
	host, port, _ := net.SplitHostPort(r.RemoteAddr)
	env := []string{"REMOTE_ADDR=" + host, "REMOTE_HOST=" + host, "REMOTE_PORT=" + port}
	ourHost, ourPort := "", ""
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		ourHost, ourPort, _ = net.SplitHostPort(local.String())
		env = append(env, "SERVER_ADDR="+ourHost)
	}
	name := nameIn(r.Host)
	if name == "" {
		name = ourHost
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
		env = append(env, "HTTPS=on")
	}
	return append(env, "SERVER_NAME="+name, "SERVER_PORT="+ourPort, "REQUEST_SCHEME="+scheme)
}

// nameIn returns the host of a Host field without its port.
func nameIn(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}

// bodyMeta is for a request with a body alone: §4.1.2 and §4.1.3.
func bodyMeta(r *http.Request) (env []string) {
	if r.ContentLength > 0 {
		env = append(env, "CONTENT_LENGTH="+strconv.FormatInt(r.ContentLength, 10))
	}
	if typ := r.Header.Get("Content-Type"); typ != "" {
		env = append(env, "CONTENT_TYPE="+typ)
	}
	return env
}

// notPassed are the fields that programs are not told: those with variables of their own,
// those that are about one connection, credentials, which are the server's to look at
// (§4.1.18), and Proxy, which would become the variable by which clients of HTTP take
// their proxy (CVE-2016-5385).
var notPassed = map[string]bool{
	"Content-Length": true, "Content-Type": true,
	"Connection": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
	"Authorization": true, "Proxy-Authorization": true,
	"Proxy": true, "Proxy-Connection": true,
}

// headerMeta returns the request's fields as HTTP_ variables. Fields with other bytes
// than letters, digits and hyphens are left out: X_Y would be taken for X-Y, which a
// proxy in front may vouch for.
func headerMeta(r *http.Request) (env []string) {
	if r.Host != "" {
		env = append(env, "HTTP_HOST="+r.Host)
	}
	for name, values := range r.Header {
		if notPassed[name] || name == "Host" || !isPlainName(name) {
			continue
		}
		between := ", "
		if name == "Cookie" {
			between = "; "
		}
		env = append(env, "HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))+"="+strings.Join(values, between))
	}
	return env
}

func isPlainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '-' && classes[c]&(letterByte|digitByte) == 0 {
			return false
		}
	}
	return true
}
