#include "tensor/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace nosa {

Buffer Buffer::Host(size_t bytes, size_t alignment) {
  if (bytes == 0) return Buffer();
  NOSA_CHECK(alignment >= 64 && (alignment & (alignment - 1)) == 0, "alignment {} is not a power of two >= 64",
             alignment);
  const size_t size = RoundUp(bytes, alignment);
  NOSA_CHECK(size >= bytes, "{} bytes are more than can be addressed", bytes);
  // Large buffers come straight from the system: zeroed pages that take memory only once they are touched.
  constexpr size_t kMapFrom = 1 << 20, kMapAlignment = 4096;
  if (bytes >= kMapFrom && alignment <= kMapAlignment) {
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NOSA_CHECK(data != MAP_FAILED, "the system has no {} of memory", FormatByteSize(bytes));
    return Buffer(data, bytes, MemoryKind::kHost, [](void* p, size_t n, void*) { munmap(p, n); });
  }
  void* data = std::aligned_alloc(alignment, size);
  NOSA_CHECK(data != nullptr, "the system has no {} of memory", FormatByteSize(size));
  std::memset(data, 0, size);
  return Buffer(data, bytes, MemoryKind::kHost, [](void* p, size_t, void*) { std::free(p); });
}

void DiscardHostPages(MutableBytes bytes) {
  static const uintptr_t kPage = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin = RoundUp(address, kPage), end = (address + bytes.size()) / kPage * kPage;
  // Advice: where the system does not take it, the pages stay.
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

TensorView Buffer::View(DType dtype, Shape shape) const {
  const size_t need = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
  NOSA_CHECK(need <= bytes_, "a view of {} {} needs {} bytes, the buffer has {}", DTypeName(dtype), shape.ToString(),
             need, bytes_);
  return TensorView(data_, dtype, shape);
}

}  // namespace nosa
