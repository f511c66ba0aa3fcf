// Package settings reads the settings.ini of the device SDK: where the broker
// is, and how to log in there.
//
// Every error is one line. It names a line, a section or a key and says what to
// do, and shows only values that are no secret.
package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vulturepi/gateway/internal/address"
)

// Keys of section [system]. All others are somebody else's.
const (
	KeyAddress  = "ip_address"
	KeyPort     = "mqtt_port"
	KeyUsername = "username"
	KeyPassword = "password"
	KeyTLS      = "mqtt_tls"
	KeyCAFile   = "mqtt_ca_file"
)

// Auto is the ip_address of a broker that is to be found by mDNS.
const Auto = "auto"

// The port of a file without mqtt_port.
const (
	DefaultPort    = 1883
	DefaultTLSPort = 8883
)

// maxFile bounds what is read: a settings.ini is small, and a wrong path may
// lead anywhere.
const maxFile = 1 << 20

// File is what section [system] says.
type File struct {
	Address  string // an IP address, a host name in lower case, or Auto
	Port     int    // 1 to 65535; with Auto the port that counts, 0: any
	Username string // "" without
	Password string // "" without; a secret
	TLS      bool
	CAFile   string // the CA that signed the broker's certificate, in PEM; "": the system's
}

// HostPort returns host:port of the broker, with brackets around IPv6. It means
// nothing when Address is Auto.
func (f File) HostPort() string { return net.JoinHostPort(f.Address, strconv.Itoa(f.Port)) }

// Read reads the file at path.
func Read(path string) (File, error) {
	data, err := readFile(path)
	if err != nil {
		return File{}, fmt.Errorf("cannot read %q: %w", path, err)
	}
	f, err := Parse(data)
	if err != nil {
		return File{}, fmt.Errorf("%q: %w", path, err)
	}
	return f, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes; is it the right file?", maxFile)
	}
	return data, nil
}

// withoutPath drops the path of an error of package os; it is printed quoted.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// Parse reads what Python's configparser reads: `=` or `:`, full-line comments
// with `;` or `#`, keys in any case. Quotes around a value are taken off, and,
// except in username and password, comments after it. Sections other than
// [system] are not looked at, and of [system] only the keys above and what looks
// like a misspelling of one that is missing, which is refused.
func Parse(data []byte) (File, error) {
	keys, err := readSystem(data)
	if err != nil {
		return File{}, err
	}
	if err := checkSpelling(keys); err != nil {
		return File{}, err
	}
	f := File{Username: keys[KeyUsername].value, Password: keys[KeyPassword].value, CAFile: keys[KeyCAFile].value}
	if f.Address, err = parseAddress(keys); err != nil {
		return File{}, err
	}
	if f.TLS, err = parseTLS(keys); err != nil {
		return File{}, err
	}
	usual := DefaultPort
	switch {
	case f.Address == Auto:
		usual = 0
	case f.TLS:
		usual = DefaultTLSPort
	}
	if f.Port, err = parsePort(keys, usual); err != nil {
		return File{}, err
	}
	return f, nil
}

func parseAddress(keys map[string]entry) (string, error) {
	e, found := keys[KeyAddress]
	if !found {
		return "", noAddress()
	}
	if strings.EqualFold(e.value, Auto) {
		return Auto, nil
	}
	host, err := address.Destination(e.value)
	if err != nil {
		return "", fmt.Errorf("%s = %q: %w", KeyAddress, e.value, err)
	}
	return host, nil
}

// parsePort returns the usual one where the file has none.
func parsePort(keys map[string]entry, usual int) (int, error) {
	e, found := keys[KeyPort]
	if !found {
		return usual, nil
	}
	if err := address.CheckPort(e.value); err != nil || e.value == "0" {
		return 0, fmt.Errorf("%s = %q: write a port from 1 to 65535, in decimal and without a leading zero, for example 1883", KeyPort, e.value)
	}
	return strconv.Atoi(e.value)
}

// parseTLS takes what configparser's getboolean takes.
func parseTLS(keys map[string]entry) (bool, error) {
	e, found := keys[KeyTLS]
	if !found {
		return false, nil
	}
	switch strings.ToLower(e.value) {
	case "true", "yes", "on", "1":
		return true, nil
	case "false", "no", "off", "0":
		return false, nil
	}
	return false, fmt.Errorf("%s = %q: write true or false", KeyTLS, e.value)
}

// Mend writes address as the value of ip_address, and leaves every other byte
// as it is. It returns what stood there and on which line, 0 if there is nothing
// to change: it is that address already, or Auto. The rest of the file is not
// checked.
func Mend(data []byte, address string) (out []byte, old string, line int, err error) {
	keys, err := readSystem(data)
	if err != nil {
		return data, "", 0, err
	}
	e, found := keys[KeyAddress]
	if !found {
		if err := checkSpelling(keys); err != nil {
			return data, "", 0, err
		}
		return data, "", 0, noAddress()
	}
	if e.value == address || strings.EqualFold(e.value, Auto) {
		return data, e.value, 0, nil
	}
	return slices.Concat(data[:e.start], []byte(address), data[e.start+len(e.value):]), e.value, e.line, nil
}

func noAddress() error {
	return fmt.Errorf("section [system] has no %s; add for example %s = 192.168.1.10", KeyAddress, KeyAddress)
}
