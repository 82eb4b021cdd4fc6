// Runs a model that `paring convert -s export.format=tvm` compiled, without Python: opens model.so with TVM's
// runtime, fills the input with a ramp, and prints the time and the first output,
// at most 1,000 numbers of it.
//
//     ./run_model out/model.so 1 3 224 224
//
// The library's own account of itself (inputs, outputs, CPU) is the C string `paring_facts` in it. Compare its CPU
// features with this machine's before anything else: a kernel with an instruction that is missing ends the process.
#include <dlfcn.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <tvm/ffi/container/array.h>
#include <tvm/ffi/container/tensor.h>
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/function.h>

namespace ffi = tvm::ffi;

// TVM's kernels read whole vector registers: memory begins at 64 bytes.
struct AlignedAllocator {
  void AllocData(DLTensor* tensor) {
    size_t bytes = (ffi::GetDataSize(*tensor) + 63) / 64 * 64;
    tensor->data = std::aligned_alloc(64, bytes);
  }
  void FreeData(DLTensor* tensor) { std::free(tensor->data); }
};

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL.so SIZE...: the input's sizes, batch first\n", argv[0]);
    return 2;
  }
  std::vector<int64_t> sizes;
  int64_t count = 1;
  for (int i = 2; i < argc; ++i) {
    sizes.push_back(std::atoll(argv[i]));
    count *= sizes.back();
  }
  try {
    ffi::Module library = ffi::Module::LoadFromFile(argv[1]);
    if (void* opened = dlopen(argv[1], RTLD_LAZY | RTLD_NOLOAD)) {
      if (auto* facts = static_cast<const char**>(dlsym(opened, "paring_facts"))) {
        std::printf("%s\n", *facts);
      }
    }
    ffi::Module machine = library->GetFunction("vm_load_executable").value()().cast<ffi::Module>();
    // One CPU (kDLCPU, device 0), with the allocator that keeps its memory for the next run.
    machine->GetFunction("vm_initialization").value()(static_cast<int>(kDLCPU), 0, 2);
    ffi::Function run = machine->GetFunction("main").value();

    ffi::Tensor input = ffi::Tensor::FromNDAlloc(AlignedAllocator(), ffi::Shape(sizes), DLDataType{kDLFloat, 32, 1},
                                                 DLDevice{kDLCPU, 0});
    float* values = static_cast<float*>(input.data_ptr());
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(i % 17) / 17.0f - 0.5f;

    run(input);  // warm up: memory is allocated
    auto begin = std::chrono::steady_clock::now();
    ffi::Array<ffi::Tensor> outputs = run(input).cast<ffi::Array<ffi::Tensor>>();
    std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begin;
    std::printf("ms %.3f\n", taken.count());
    const float* first = static_cast<const float*>(outputs[0].data_ptr());
    for (int i = 0; i < 1000 && i < outputs[0].numel(); ++i) std::printf("%.9g\n", first[i]);
  } catch (const ffi::Error& error) {
    std::fprintf(stderr, "%s: %s\n", argv[1], error.what());
    return 1;
  }
  return 0;
}
