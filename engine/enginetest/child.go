package enginetest

import "testing"

const childService = "YODEL_ENGINETEST_SERVICE"

func (k *kit) beServer(t *testing.T, s string) {}
