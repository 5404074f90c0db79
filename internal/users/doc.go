// Package users is the password file that ftp, telnet and mail share, and the door that
// asks it: who may come in, and how often one may try.
//
// The file has a line for each user,
//
//	name:hash
//	name:hash:/home
//
// where hash is of argon2id (in the form $argon2id$v=19$m=…,t=…,p=…$salt$hash) or of
// bcrypt ($2a$, $2b$ or $2y$, as htpasswd -B writes it), and the home is a path inside
// the folder that is served. Empty lines and lines that begin with # are kept as they
// are. [Set] and [Remove] change a line; [File.Check] asks.
package users
