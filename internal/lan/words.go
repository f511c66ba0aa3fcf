package lan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ThisMachine is Choose for the interfaces of this machine, with the address
// that a caller has written, "" for none.
func ThisMachine(want string) (Address, error) {
	var ip netip.Addr
	if want != "" {
		var err error
		if ip, err = netip.ParseAddr(want); err != nil {
			return Address{}, choiceErrorf("--addr %q is no IP address of this machine", want)
		}
	}
	all, err := Interfaces()
	if err != nil {
		return Address{}, err
	}
	return Choose(all, ip)
}

// SettingsLines are the lines of a settings.ini that lead to a broker here.
func SettingsLines(ip netip.Addr, port string) string {
	return fmt.Sprintf("[system]\nip_address = %s\nmqtt_port = %s\n", ip, port)
}

// Overview is what `gateway lan` prints: the address alone on the first line,
// for scripts, then what people do with it.
func Overview(at Address) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", at.IP)
	fmt.Fprintf(&b, "settings.ini of a device, for a broker on this machine:\n\n%s\n", SettingsLines(at.IP, "1883"))
	fmt.Fprintf(&b, "Configuration of mosquitto on this machine:\n\nlistener 1883 %s\n\n", at.IP)
	b.WriteString("`gateway lan --write FILE` puts the address into such a file, and changes nothing else in it.\n")
	return b.String()
}

// Words says what was changed.
func (c Change) Words(file string, ip netip.Addr) string {
	if len(c.Lines) == 0 {
		return fmt.Sprintf("%s: nothing to change", file)
	}
	lines := make([]string, len(c.Lines))
	for n, l := range c.Lines {
		lines[n] = strconv.Itoa(l)
	}
	plural := ""
	if len(lines) > 1 {
		plural = "s"
	}
	return fmt.Sprintf("%s: line%s %s: %s is %s now", file, plural, strings.Join(lines, ", "), c.Old, ip)
}
