package api

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// When no descriptor is left, the machine's addresses cannot be read. The
// gateway still knows its own.
func TestOwnAddressesOutliveAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine, later := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
		list := []net.Addr{&net.IPNet{IP: mine.AsSlice(), Mask: net.CIDRMask(24, 32)}}
		var err error
		o := newOwnAddresses(func() ([]net.Addr, error) { return list, err })
		if !o.has(mine) {
			t.Fatalf("got %v not known, want it known", mine)
		}
		list, err = nil, errors.Join(errors.New("route ip+net"), syscall.EMFILE)
		for range 3 {
			time.Sleep(time.Minute) // the bubble's: the list is old
			if !o.has(mine) {
				t.Fatalf("got %v not known, want the last good list", mine)
			}
		}
		list, err = []net.Addr{&net.IPNet{IP: later.AsSlice(), Mask: net.CIDRMask(24, 32)}}, nil
		if o.has(mine) || !o.has(later) {
			t.Error("got the old list, want the new one as soon as there is one")
		}
	})
}
