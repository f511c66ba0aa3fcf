package main

import (
	"fmt"
	"net"
	"os"

	"github.com/vulturepi/gateway/internal/certificate"
	"github.com/vulturepi/gateway/internal/cli"
)

// certCommands is `gateway cert`.
type certCommands struct {
	New certCommand `cmd:"" help:"make a private CA and a certificate for this machine"`
}

// certCommand is `gateway cert new [HOST…]`: HTTPS for a local network, without
// the Internet.
type certCommand struct {
	Dir   string   `default:"." placeholder:"DIRECTORY" help:"Directory for the files."`
	Hosts []string `arg:"" optional:"" name:"host" help:"Names and addresses besides this machine's own."`
}

// Run makes the files.
func (c *certCommand) Run(sh *cli.Shell) error {
	own, err := ownHosts()
	if err != nil {
		return err
	}
	made, err := certificate.Make(c.Dir, append(c.Hosts, own...))
	if err != nil {
		return err
	}
	if made.NewCA {
		fmt.Fprintf(sh.Stdout, "made a private CA: %s; clients have to trust it. Keep its key, %s, to yourself\n", made.CA, made.CAKey)
	} else {
		fmt.Fprintf(sh.Stdout, "used the CA that was there: %s\n", made.CA)
	}
	fmt.Fprintf(sh.Stdout, "made a certificate until %s for %v\n\nGATEWAY_TLS_CERT_FILE=%s\nGATEWAY_TLS_KEY_FILE=%s\n", made.Until.Format("2006-01-02"), made.Hosts, made.Cert, made.Key)
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
