package rawtest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func TestTheFormOfAnswersIsChecked(t *testing.T) {
	for _, tt := range []struct {
		version byte
		packet  string
		ok      bool
	}{
		{4, "20020000", true}, {4, "20020082", false}, {4, "20020200", false}, {4, "2003000000", false},
		{5, "2003000000", true}, {5, "20020000", false}, {5, "2006000003210001", true}, {5, "2006000003230001", false},
		{4, "40020001", true}, {4, "40020000", false}, {4, "4003000100", false}, {4, "42020001", false},
		{5, "4003000110", true}, {5, "4003000101", false}, {5, "400400010000", true}, {5, "4006000100022600", false},
		{4, "62020001", true}, {4, "60020001", false},
		{4, "9003000102", true}, {4, "9003000187", false}, {4, "90020001", false}, {5, "900400010087", true}, {5, "900400010001", true}, {5, "9003000101", false},
		{4, "b0020001", true}, {5, "b00400010011", true}, {4, "b003000100", false},
		{4, "3003000161", true}, {4, "30020000", false}, {4, "300300012b", false}, {4, "3805000161" + "0001", false}, {4, "3205000161" + "0000", false}, {4, "3605000161" + "0001", false},
		{5, "3004000161" + "00", true}, {5, "3003000161", false}, {5, "3007000161" + "03230001", false},
		{5, "30080001610401000101", false}, {5, "300600016102" + "0100", true},
		{4, "d000", true}, {4, "d00100", false}, {5, "e00181", true}, {5, "e00104", false}, {4, "e000", false},
		{4, "8000", false}, {4, "0000", false}, {5, "f000", false},
	} {
		packet, err := hex.DecodeString(tt.packet)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Read(bufio.NewReader(bytes.NewReader(packet)), tt.version)
		if err != nil && !errors.Is(err, ErrForm) || (err == nil) != tt.ok {
			t.Errorf("version %d, %s: got error %v, want it to be right: %v", tt.version, tt.packet, err, tt.ok)
		}
	}
}
