package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxFile bounds what is read from a file: all of them are small, and a wrong
// path may lead anywhere.
const maxFile = 1 << 20

// readFile returns the contents of the file that the variable names.
func readFile(name, path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, refuse(name, "cannot read %q: %s", path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, refuse(name, "cannot read %q: %s", path, cause(err))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, 0, refuse(name, "cannot read %q: %s", path, cause(err))
	}
	if len(data) > maxFile {
		return nil, 0, refuse(name, "%q is larger than %d bytes; is it the right file?", path, maxFile)
	}
	return data, info.Mode(), nil
}

// cause drops the path from an error of package os; it is printed quoted.
func cause(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

func loadSecrets(c *Config) ([]string, error) {
	return loadSecret(envPassword, &c.MQTTPassword, c.MQTTPasswordFile)
}

// loadSecret fills the secret of variable name from the file in name_FILE.
func loadSecret(name string, secret *Secret, path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	fileName := name + "_FILE"
	if secret.Reveal() != "" {
		return nil, refuse(fileName, "%s is set as well; set only one of them", name)
	}
	data, mode, err := readFile(fileName, path)
	if err != nil {
		return nil, err
	}
	value := strings.TrimRight(string(data), "\r\n")
	if strings.TrimSpace(value) == "" {
		return nil, refuse(fileName, "%q is empty; write the secret into it", path)
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, refuse(fileName, "%q has more than one line; it must hold the secret and nothing else", path)
	}
	if err := secret.Decode(value); err != nil {
		return nil, refuse(fileName, "cannot use %q", path)
	}
	return openToOthers(fileName, path, mode), nil
}

// openToOthers is a notice about a file that only the gateway should read.
func openToOthers(variable, path string, mode fs.FileMode) []string {
	if !mode.IsRegular() || mode.Perm()&0o077 == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: other users of this machine may read %q (mode %04o); run chmod 600", variable, path, mode.Perm())}
}

// Decoders is what DecodersFile holds, nil if it is not set. What it means is
// for the caller to find out.
func (c *Config) Decoders() []byte { return c.decoders }

// ValueMetricRules is what ValueMetrics holds, likewise.
func (c *Config) ValueMetricRules() []byte { return c.valueMetrics }

func loadRules(c *Config) (_ []string, err error) {
	if c.decoders, err = loadRulesFile(envDecodersFile, c.DecodersFile, "decoders"); err != nil {
		return nil, err
	}
	c.valueMetrics, err = loadRulesFile(envValueMetrics, c.ValueMetrics, "value metrics")
	return nil, err
}

// loadRulesFile reads the file that a variable names, if it does.
func loadRulesFile(name, path, holds string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	data, _, err := readFile(name, path)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, refuse(name, "%q is empty; write %s into it, or unset the variable", path, holds)
	}
	return data, nil
}
