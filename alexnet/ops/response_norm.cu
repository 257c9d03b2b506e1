// alexnet.ResponseNorm on an NVIDIA GPU, a thread for each value: y = x / (k + alpha * sum of x^2 over adjacent maps)^beta.
// x is [N, C, H, W] in a row; `width` maps make a group, of which the maps `half` before and after are summed.
// The compiler (NVRTC) brings no headers: a float16 is converted by its instruction.

struct Half { unsigned short bits; };

__device__ float wide(float value) { return value; }
__device__ float wide(Half value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
__device__ void narrow(float value, float& result) { result = value; }
__device__ void narrow(float value, Half& result) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
}

template <typename T>
__device__ void response_norm(const T* x, T* y, long long total, long long plane, int width, int half,
                              float alpha, float beta, float k) {
  const long long place = blockIdx.x * static_cast<long long>(blockDim.x) + threadIdx.x;
  if (place >= total) return;
  const int map = static_cast<int>(place / plane % width);
  const int first = max(-half, -map);
  const int last = min(half, width - 1 - map);
  float sum = 0.0f;
  for (int near = first; near <= last; ++near) {
    const float value = wide(x[place + near * plane]);
    sum += value * value;
  }
  const float s = k + alpha * sum;
  const float root = sqrtf(s);
  narrow(wide(x[place]) / (beta == 0.75f ? root * sqrtf(root) : powf(s, beta)), y[place]);
}

extern "C" __global__ void response_norm_float(const float* x, float* y, long long total, long long plane, int width,
                                               int half, float alpha, float beta, float k) {
  response_norm(x, y, total, plane, width, half, alpha, beta, k);
}

extern "C" __global__ void response_norm_half(const Half* x, Half* y, long long total, long long plane, int width,
                                              int half, float alpha, float beta, float k) {
  response_norm(x, y, total, plane, width, half, alpha, beta, k);
}
