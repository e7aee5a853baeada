#include <ATen/ops/ones.h>
#include <cohaul/cohaul.h>

int main() {
  return cohaul::run([](cohaul::Job& job) {
    if (job.world() != 1 || at::ones({3}).sum().item<double>() != 3) throw cohaul::Error(cohaul::internal("not alone"));
  });
}
