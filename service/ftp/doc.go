// Package ftp is a server of the File Transfer Protocol, for the connection door of an
// engine: RFC 959 and 1123, with FEAT (2389), EPSV and EPRT (2428), MLST, MLSD, SIZE,
// MDTM and REST in streams (3659), UTF-8 names (2640), and TLS (2228, 4217).
//
// # Files
//
// What is served is one folder, an [os.Root]: no name, symbolic link or race leads out
// of it. Only regular files are opened. A file that is being received has a name of its
// own, [TempPrefix] and random letters, and gets its real one when all of it is there: so
// under the real name there is the old file or the new one, and never a half one. This
// holds for APPE, and STOR after REST, too, which copy what is kept. What a killed server
// leaves behind goes when something is next received into the same folder.
//
// # Connections
//
// The control connection is the engine's: it accepts, admits and traces it. The server
// reads it also while a transfer is under way, so that ABOR and STAT are heard; other
// commands wait for the end of the transfer. It times the connection itself
// (Config.Idle), because it is at rest during a transfer: the engine's own Idle must be
// off.
//
// Data connections are the server's: see [Config] for how they are admitted, counted and
// traced. One goes only to, or comes only from, the address of the control connection
// (RFC 2577).
package ftp
