package trace

import "syscall"

// errnoNoNet is what a host says that has no network (ICMP, "host isolated").
const errnoNoNet = syscall.ENONET
