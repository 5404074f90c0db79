//go:build !linux

package ftp

import "io"

// source returns what a connection is to be given, which package net knows.
func (p *filePiece) source() io.Reader { return &p.LimitedReader }
