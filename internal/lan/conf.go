package lan

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vulturepi/gateway/internal/settings"
)

// Change is what Mend has replaced.
type Change struct {
	Old   string // what stood there
	Lines []int  // where, from 1
}

// Mend puts ip where a settings.ini or a configuration of mosquitto names this
// machine's LAN address: the key ip_address, or the listener whose address is
// private or a placeholder such as <your_ip_address>. Loopback listeners and
// those without an address are left alone. Every other byte stays as it is.
// Without a change, the data comes back as it is and the Change has no lines.
func Mend(data []byte, ip netip.Addr) ([]byte, Change, error) {
	if isINI(data) {
		out, old, line, err := settings.Mend(data, ip.String())
		if err != nil || line == 0 {
			return data, Change{}, err
		}
		return out, Change{old, []int{line}}, nil
	}
	return mendConf(data, ip.String())
}

// isINI is true for a file with sections, which no configuration of mosquitto
// has.
func isINI(data []byte) bool {
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("[")) {
			return true
		}
	}
	return false
}

// place is where a listener's address stands.
type place struct {
	line       int
	start, end int
	address    string
}

func mendConf(data []byte, ip string) ([]byte, Change, error) {
	listeners, places := listenerAddresses(data, ip)
	if listeners == 0 {
		return data, Change{}, errors.New("has neither a section [system] nor a line that begins with listener; is it the settings.ini of a device or a configuration of mosquitto?")
	}
	if len(places) == 0 {
		return data, Change{}, fmt.Errorf("has no listener with a LAN address or <your_ip_address>; write for example listener 1883 %s", ip)
	}
	change := Change{Old: places[0].address}
	for _, p := range places {
		if p.address != change.Old {
			return data, Change{}, fmt.Errorf("the listeners of %s have different LAN addresses; change the one that is meant by hand", lineNames(places))
		}
		change.Lines = append(change.Lines, p.line)
	}
	if change.Old == ip {
		return data, Change{}, nil
	}
	out := slices.Clone(data)
	for _, p := range slices.Backward(places) {
		out = slices.Replace(out, p.start, p.end, []byte(ip)...)
	}
	return out, change, nil
}

// listenerAddresses counts the listener lines, and finds the addresses in them
// that are private, a placeholder, or ip already.
func listenerAddresses(data []byte, ip string) (listeners int, places []place) {
	offset, number := 0, 0
	for line := range bytes.Lines(data) {
		number++
		words := fields(line)
		if len(words) > 0 && string(line[words[0][0]:words[0][1]]) == "listener" {
			listeners++
			if len(words) > 2 {
				start, end := words[2][0], words[2][1]
				if address := string(line[start:end]); isLAN(address) || address == ip {
					places = append(places, place{number, offset + start, offset + end, address})
				}
			}
		}
		offset += len(line)
	}
	return listeners, places
}

// fields is where the words of a line begin and end. A placeholder is one word,
// also with spaces in it.
func fields(line []byte) (words [][2]int) {
	const space = " \t\r\n"
	for at := 0; at < len(line); {
		if bytes.IndexByte([]byte(space), line[at]) >= 0 {
			at++
			continue
		}
		end := bytes.IndexAny(line[at:], space)
		if closing := bytes.IndexByte(line[at:], '>'); line[at] == '<' && closing > 0 {
			end = closing + 1
		}
		if end < 0 {
			end = len(line) - at
		}
		words = append(words, [2]int{at, at + end})
		at += end
	}
	return words
}

func isLAN(address string) bool {
	if strings.HasPrefix(address, "<") && strings.HasSuffix(address, ">") {
		return true
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && IsLocal(ip)
}

func lineNames(places []place) string {
	words := make([]string, len(places))
	for n, p := range places {
		words[n] = fmt.Sprintf("line %d (%s)", p.line, p.address)
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
