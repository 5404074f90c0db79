package ftp

// nonBlocking is nothing: opening waits for nobody.
const nonBlocking = 0
