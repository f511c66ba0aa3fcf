// Package manifests holds deploy/kubernetes, docker-compose.yml and the dashboard to the types
// of Kubernetes, the Prometheus Operator, Compose and Grafana. It is a module of its own,
// because nothing else needs them.
package manifests

import (
	"io/fs"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	podsecurity "k8s.io/pod-security-admission/api"
	checks "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const base = "../../deploy/kubernetes"

// objects are what kustomize build makes, by kind.
type objects map[string][]byte

// kustomize builds a directory of files.
func kustomize(t *testing.T, fs filesys.FileSystem, dir string) objects {
	t.Helper()
	options := krusty.MakeDefaultOptions()
	options.LoadRestrictions = types.LoadRestrictionsRootOnly
	built, err := krusty.MakeKustomizer(options).Run(fs, dir)
	if err != nil {
		t.Fatalf("kustomize build: %v", err)
	}
	all := objects{}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if all[r.GetKind()] != nil {
			t.Fatalf("there are two of %s", r.GetKind())
		}
		all[r.GetKind()] = text
	}
	return all
}

// decode takes one object apart; a field that its type does not have, or has
// otherwise, is an error.
func decode[T any](t *testing.T, all objects, kind string) *T {
	t.Helper()
	into := new(T)
	if all[kind] == nil {
		t.Fatalf("there is no %s", kind)
	}
	if err := yaml.UnmarshalStrict(all[kind], into); err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return into
}

func TestManifestsAreOfTheirTypes(t *testing.T) {
	all := kustomize(t, filesys.MakeFsOnDisk(), base)
	deployment := decode[apps.Deployment](t, all, "Deployment")
	service := decode[core.Service](t, all, "Service")
	config := decode[core.ConfigMap](t, all, "ConfigMap")
	budget := decode[policy.PodDisruptionBudget](t, all, "PodDisruptionBudget")
	network := decode[networking.NetworkPolicy](t, all, "NetworkPolicy")
	if len(all) != 5 {
		t.Errorf("got %d objects, want 5", len(all))
	}
	pod := labels.Set(deployment.Spec.Template.Labels)
	for name, s := range map[string]*meta.LabelSelector{
		"Deployment": deployment.Spec.Selector, "PodDisruptionBudget": budget.Spec.Selector, "NetworkPolicy": &network.Spec.PodSelector,
		"Service": {MatchLabels: service.Spec.Selector},
	} {
		if selector, err := meta.LabelSelectorAsSelector(s); err != nil || selector.Empty() || !selector.Matches(pod) {
			t.Errorf("%s: its selector %v does not choose the pod %v (%v)", name, s, pod, err)
		}
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	ports := map[string]bool{}
	for _, p := range container.Ports {
		ports[p.Name] = true
	}
	wanted := []string{service.Spec.Ports[0].TargetPort.String()}
	for _, probe := range []*core.Probe{container.StartupProbe, container.LivenessProbe, container.ReadinessProbe} {
		wanted = append(wanted, probe.HTTPGet.Port.String())
	}
	for _, rule := range network.Spec.Ingress {
		for _, p := range rule.Ports {
			wanted = append(wanted, p.Port.String())
		}
	}
	for _, name := range wanted {
		if !ports[name] {
			t.Errorf("the container has no port %s, only %v", name, ports)
		}
	}
	if got := container.EnvFrom[0].ConfigMapRef.Name; got != config.Name || got == "gateway" {
		t.Errorf("the pod takes its environment from %s, want %s, whose name tells of its content", got, config.Name)
	}
	if container.Image != "registry.example/vulture-gateway:1.0.0" {
		t.Errorf("image: got %s, want that of the kustomization", container.Image)
	}
}

// The pod is let in where a namespace enforces the strictest level.
func TestPodIsRestricted(t *testing.T) {
	deployment := decode[apps.Deployment](t, kustomize(t, filesys.MakeFsOnDisk(), base), "Deployment")
	evaluator, err := checks.NewEvaluator(checks.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	template := deployment.Spec.Template
	evaluate := func() checks.AggregateCheckResult {
		level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
		return checks.AggregateCheckResults(evaluator.EvaluatePod(level, &template.ObjectMeta, &template.Spec))
	}
	if got := evaluate(); !got.Allowed {
		t.Errorf("the pod is refused: %s", got.ForbiddenDetail())
	}
	container := template.Spec.Containers[0]
	if s := container.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the container can write to its root file system")
	}
	if auto := template.Spec.AutomountServiceAccountToken; auto == nil || *auto {
		t.Error("the pod has a token for the API of Kubernetes")
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
		t.Errorf("resources: got %v", container.Resources)
	}
	template.Spec.Containers[0].SecurityContext.Capabilities = nil
	if evaluate().Allowed {
		t.Error("a pod with capabilities counts as restricted")
	}
}

// The Secret of the example has the files that the pod is pointed to.
func TestSecretHasWhatThePodReads(t *testing.T) {
	text, err := filesys.MakeFsOnDisk().ReadFile(base + "/secret.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	secret := decode[core.Secret](t, objects{"Secret": text}, "Secret")
	all := kustomize(t, filesys.MakeFsOnDisk(), base)
	deployment := decode[apps.Deployment](t, all, "Deployment")
	volume := deployment.Spec.Template.Spec.Volumes[0]
	if volume.Secret == nil || volume.Secret.SecretName != secret.Name {
		t.Errorf("the pod mounts %+v, want the secret %s", volume, secret.Name)
	}
	mount := deployment.Spec.Template.Spec.Containers[0].VolumeMounts[0]
	var files []string
	for name := range secret.StringData {
		files = append(files, mount.MountPath+"/"+name)
	}
	read := 0
	for variable, value := range decode[core.ConfigMap](t, all, "ConfigMap").Data {
		if strings.HasSuffix(variable, "_FILE") {
			if read++; !slices.Contains(files, value) {
				t.Errorf("%s: there is no %s in the secret, only %v", variable, value, files)
			}
		}
	}
	if read != len(files) {
		t.Errorf("the configuration reads %d files, the secret has %d", read, len(files))
	}
}

// With the component there is a PodMonitor, and Prometheus does not find the pod
// a second time by its annotations.
func TestPodMonitorTakesThePlaceOfAnnotations(t *testing.T) {
	disk, memory := filesys.MakeFsOnDisk(), filesys.MakeFsInMemory()
	err := disk.Walk(base, func(path string, info fs.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		text, err := disk.ReadFile(path)
		if err != nil {
			return err
		}
		name := "/base/" + strings.TrimPrefix(strings.TrimPrefix(path, base), "/")
		if name == "/base/kustomization.yaml" {
			text = []byte(strings.ReplaceAll(strings.ReplaceAll(string(text), "#components:", "components:"), "#  - podmonitor", "  - podmonitor"))
		}
		return memory.WriteFile(name, text)
	})
	if err != nil {
		t.Fatal(err)
	}
	all := kustomize(t, memory, "/base")
	monitor := decode[monitoring.PodMonitor](t, all, "PodMonitor")
	deployment := decode[apps.Deployment](t, all, "Deployment")
	template := deployment.Spec.Template
	if len(template.Annotations) != 0 {
		t.Errorf("the pod has the annotations %v, want none", template.Annotations)
	}
	selector, err := meta.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil || !selector.Matches(labels.Set(template.Labels)) {
		t.Errorf("the monitor's selector does not choose the pod (%v)", err)
	}
	if template.Labels[monitor.Spec.JobLabel] != "gateway" {
		t.Errorf("the job is called %q, want gateway, as in the alerts", template.Labels[monitor.Spec.JobLabel])
	}
	port := monitor.Spec.PodMetricsEndpoints[0].Port
	if !slices.ContainsFunc(template.Spec.Containers[0].Ports, func(p core.ContainerPort) bool { return port != nil && p.Name == *port }) {
		t.Errorf("the container has no port for the monitor")
	}
}
