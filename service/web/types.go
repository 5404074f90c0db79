package web

import (
	"io"
	"path"
	"strings"
	"unicode/utf8"
)

// types are the media types by the ending of a name. They do not depend on the machine,
// as those of package mime do.
var types = map[string]string{
	".aac": "audio/aac", ".apk": "application/vnd.android.package-archive", ".atom": "application/atom+xml",
	".avif": "image/avif", ".bmp": "image/bmp", ".br": octets, ".bz2": "application/x-bzip2", ".c": plain,
	".cc": plain, ".conf": plain, ".cpp": plain, ".css": "text/css; charset=utf-8", ".csv": "text/csv; charset=utf-8",
	".deb": "application/vnd.debian.binary-package", ".doc": "application/msword",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".epub": "application/epub+zip",
	".flac": "audio/flac", ".gif": "image/gif", ".go": plain, ".gz": "application/gzip", ".h": plain,
	".htm": hypertext, ".html": hypertext, ".ico": "image/x-icon", ".ics": "text/calendar; charset=utf-8",
	".ini": plain, ".iso": octets, ".java": plain, ".jpeg": "image/jpeg", ".jpg": "image/jpeg",
	".js": script, ".json": "application/json", ".jsonl": "application/jsonl", ".log": plain,
	".m3u8": "application/vnd.apple.mpegurl", ".m4a": "audio/mp4", ".map": "application/json", ".md": "text/markdown; charset=utf-8",
	".mjs": script, ".mkv": "video/x-matroska", ".mov": "video/quicktime", ".mp3": "audio/mpeg",
	".mp4": "video/mp4", ".mpeg": "video/mpeg", ".odp": "application/vnd.oasis.opendocument.presentation",
	".ods": "application/vnd.oasis.opendocument.spreadsheet", ".odt": "application/vnd.oasis.opendocument.text",
	".oga": "audio/ogg", ".ogg": "audio/ogg", ".ogv": "video/ogg", ".opus": "audio/ogg", ".otf": "font/otf",
	".pcap": "application/vnd.tcpdump.pcap", ".pcapng": octets, ".pdf": "application/pdf", ".pl": plain,
	".png": "image/png", ".ppt": "application/vnd.ms-powerpoint",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation", ".ps": "application/postscript",
	".py": plain, ".rb": plain, ".rs": plain, ".rss": "application/rss+xml", ".rtf": "application/rtf",
	".sh": plain, ".svg": "image/svg+xml", ".tar": "application/x-tar", ".tif": "image/tiff", ".tiff": "image/tiff",
	".toml": plain, ".ts": "video/mp2t", ".ttf": "font/ttf", ".txt": plain, ".vtt": "text/vtt; charset=utf-8",
	".wasm": "application/wasm", ".wav": "audio/wav", ".weba": "audio/webm", ".webm": "video/webm", ".webp": "image/webp",
	".webmanifest": "application/manifest+json", ".woff": "font/woff", ".woff2": "font/woff2", ".xhtml": "application/xhtml+xml",
	".xls": "application/vnd.ms-excel", ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".xml": "text/xml; charset=utf-8", ".xz": "application/x-xz", ".yaml": "application/yaml", ".yml": "application/yaml",
	".zip": "application/zip", ".zst": "application/zstd",
}

const (
	octets    = "application/octet-stream"
	plain     = "text/plain; charset=utf-8"
	hypertext = "text/html; charset=utf-8"
	script    = "text/javascript; charset=utf-8"
)

// contentType returns the media type of a file by its name, or if that does not tell by
// its beginning: text or not. It is never said that such a file is one that browsers run.
func contentType(name string, file io.ReaderAt) (string, error) {
	if typ, ok := types[strings.ToLower(path.Ext(name))]; ok {
		return typ, nil
	}
	start := make([]byte, 512)
	n, err := file.ReadAt(start, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return sniff(start[:n]), nil
}

func sniff(start []byte) string {
	for i := 0; i < len(start); {
		r, n := utf8.DecodeRune(start[i:])
		whole := utf8.FullRune(start[i:])
		if r == utf8.RuneError && n == 1 && whole || r < ' ' && !strings.ContainsRune("\t\n\f\r\x1b", r) {
			return octets
		}
		i += n
	}
	return plain
}

// shrinks reports whether files of a media type become shorter when they are compressed.
func shrinks(typ string) bool {
	typ, _, _ = strings.Cut(typ, ";")
	switch {
	case strings.HasPrefix(typ, "text/"), strings.HasSuffix(typ, "+xml"), strings.HasSuffix(typ, "json"):
		return true
	}
	switch typ {
	case "application/jsonl", "application/yaml", "application/wasm", "application/postscript", "application/x-tar",
		"image/bmp", "image/x-icon", "font/ttf", "font/otf":
		return true
	}
	return false
}
