package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/vulturepi/gateway/internal/certificate"
)

// certCommand is `gateway cert new [HOST…]`: HTTPS for a local network, without
// the Internet.
func certCommand(_ context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] != "new" {
		return usageError{errors.New("write: gateway cert new [--dir DIRECTORY] [HOST…]")}
	}
	flags := flag.NewFlagSet("cert new", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", ".", "`directory` for the files")
	hosts, err := parseAround(flags, args[1:])
	if err != nil {
		return err
	}
	own, err := ownHosts()
	if err != nil {
		return err
	}
	made, err := certificate.Make(*dir, append(hosts, own...))
	if err != nil {
		return err
	}
	if made.NewCA {
		fmt.Fprintf(stdout, "made a private CA: %s; clients have to trust it. Keep its key, %s, to yourself\n", made.CA, made.CAKey)
	} else {
		fmt.Fprintf(stdout, "used the CA that was there: %s\n", made.CA)
	}
	fmt.Fprintf(stdout, "made a certificate until %s for %v\n\nGATEWAY_TLS_CERT_FILE=%s\nGATEWAY_TLS_KEY_FILE=%s\n", made.Until.Format("2006-01-02"), made.Hosts, made.Cert, made.Key)
	return nil
}

// ownHosts are this machine's names and addresses.
func ownHosts() ([]string, error) {
	hosts := []string{"localhost"}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name, name+".local")
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("this machine's addresses cannot be read: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			hosts = append(hosts, n.IP.String())
		}
	}
	return hosts, nil
}
