// The ONNX Runtime custom-operator library: alexnet.ResponseNorm in float32 and float16.
// ONNX Runtime C API: OrtCustomOp, RegisterCustomOps, KernelContext_ParallelFor. Its headers, which the Python wheel
// leaves out, are those of ONNX Runtime 1.29, unchanged, with their licence (MIT), in onnxruntime/.

#include <new>
#include <vector>

#include "onnxruntime_c_api.h"
#include "response_norm.h"

#define RETURN_IF_ERROR(call)                              \
  do {                                                     \
    if (OrtStatus* status = (call)) return status;         \
  } while (false)

namespace {

// ONNX Runtime 1.22 is the oldest that is supported; newer ones serve its version of the API too.
constexpr uint32_t kApiVersion = 22;

struct Kernel {
  const OrtApi* api;
  alexnet::Norm norm;
};

template <typename T>
constexpr ONNXTensorElementDataType kType = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
template <>
constexpr ONNXTensorElementDataType kType<_Float16> = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;

OrtStatus* create(const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo* info, void** made) {
  alexnet::Norm norm;
  RETURN_IF_ERROR(api->KernelInfoGetAttribute_int64(info, "size", &norm.size));
  RETURN_IF_ERROR(api->KernelInfoGetAttribute_int64(info, "groups", &norm.groups));
  RETURN_IF_ERROR(api->KernelInfoGetAttribute_float(info, "alpha", &norm.alpha));
  RETURN_IF_ERROR(api->KernelInfoGetAttribute_float(info, "beta", &norm.beta));
  RETURN_IF_ERROR(api->KernelInfoGetAttribute_float(info, "k", &norm.k));
  if (norm.size < 1 || norm.size % 2 == 0 || norm.groups < 1)
    return api->CreateStatus(ORT_INVALID_ARGUMENT, "alexnet.ResponseNorm: expected an odd size and groups of 1 or more");
  *made = new (std::nothrow) Kernel{api, norm};
  return *made ? nullptr : api->CreateStatus(ORT_FAIL, "alexnet.ResponseNorm: out of memory");
}

OrtStatus* shape_of(const OrtApi* api, const OrtValue* value, std::vector<int64_t>& shape) {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  size_t rank = 0;
  RETURN_IF_ERROR(api->GetTensorTypeAndShape(value, &info));
  OrtStatus* status = api->GetDimensionsCount(info, &rank);
  if (!status) {
    shape.resize(rank);
    status = api->GetDimensions(info, shape.data(), rank);
  }
  api->ReleaseTensorTypeAndShapeInfo(info);
  return status;
}

template <typename T>
OrtStatus* compute(void* op, OrtKernelContext* context) {
  const auto& [api, norm] = *static_cast<Kernel*>(op);
  const OrtValue* x = nullptr;
  OrtValue* y = nullptr;
  void *from = nullptr, *to = nullptr;
  std::vector<int64_t> shape;
  RETURN_IF_ERROR(api->KernelContext_GetInput(context, 0, &x));
  RETURN_IF_ERROR(shape_of(api, x, shape));
  if (shape.size() != 4 || shape[1] % norm.groups != 0)
    return api->CreateStatus(ORT_INVALID_ARGUMENT, "alexnet.ResponseNorm: expected x [N, C, H, W], C a multiple of groups");
  RETURN_IF_ERROR(api->KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &y));
  RETURN_IF_ERROR(api->GetTensorMutableData(const_cast<OrtValue*>(x), &from));
  RETURN_IF_ERROR(api->GetTensorMutableData(y, &to));
  const int64_t plane = shape[2] * shape[3];
  const int64_t blocks = (plane + alexnet::kBlock - 1) / alexnet::kBlock;
  alexnet::Work<T> work{static_cast<const T*>(from), static_cast<T*>(to), shape[1] / norm.groups, plane, blocks, norm};
  const int64_t parts = work.parts(shape[0]);
  if (parts == 0) return nullptr;
  const auto run = [](void* data, size_t part) { static_cast<alexnet::Work<T>*>(data)->run(static_cast<int64_t>(part)); };
  return api->KernelContext_ParallelFor(context, run, static_cast<size_t>(parts), 0, &work);
}

// No InferOutputShapeFn: through it ONNX Runtime takes a dimension without a size or a name for one of -1. The shape of y
// stands in the model, as the exporter inferred it.
// The band and the bias of a model's function body may follow x; the attributes say the same.
template <typename T>
struct Op : OrtCustomOp {
  Op() : OrtCustomOp{} {
    version = kApiVersion;
    GetName = [](const OrtCustomOp*) { return "ResponseNorm"; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) -> size_t { return 3; };
    GetInputType = [](const OrtCustomOp*, size_t) { return kType<T>; };
    GetInputCharacteristic = [](const OrtCustomOp*, size_t place) {
      return place == 0 ? INPUT_OUTPUT_REQUIRED : INPUT_OUTPUT_OPTIONAL;
    };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    GetOutputTypeCount = [](const OrtCustomOp*) -> size_t { return 1; };
    GetOutputType = [](const OrtCustomOp*, size_t) { return kType<T>; };
    GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    CreateKernelV2 = create;
    KernelComputeV2 = compute<T>;
    KernelDestroy = [](void* op) { delete static_cast<Kernel*>(op); };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
  }
};

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(
    OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(kApiVersion);
  if (!api) return base->GetApi(1)->CreateStatus(ORT_FAIL, "alexnet.ResponseNorm needs ONNX Runtime 1.22 or later");
  // The operators and their domain live as long as the process: sessions keep pointers to them.
  static Op<float> wide;
  static Op<_Float16> narrow;
  static OrtCustomOpDomain* domain = nullptr;
  static OrtStatus* made = [api]() -> OrtStatus* {
    RETURN_IF_ERROR(api->CreateCustomOpDomain("alexnet", &domain));
    RETURN_IF_ERROR(api->CustomOpDomain_Add(domain, &wide));
    return api->CustomOpDomain_Add(domain, &narrow);
  }();
  if (made) return api->CreateStatus(api->GetErrorCode(made), api->GetErrorMessage(made));
  return api->AddCustomOpDomain(options, domain);
}
