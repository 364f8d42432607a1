// Memory with an owner. A Buffer knows what kind of memory it holds and how to give it back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/bytes.h"
#include "tensor/view.h"

namespace nosa {

enum class MemoryKind : uint8_t {
  kHost,    // pageable
  kPinned,  // page-locked host memory a device can read
  kDevice,  // not addressable by the host
};

constexpr bool HostAddressable(MemoryKind kind) { return kind != MemoryKind::kDevice; }

// Move-only. Frees on destruction. Not thread-safe.
class Buffer {
 public:
  using Deleter = void (*)(void* data, size_t bytes, void* context);

  Buffer() = default;
  // Takes over `data`; `deleter(data, bytes, context)` gives it back.
  Buffer(void* data, size_t bytes, MemoryKind kind, Deleter deleter, void* context = nullptr)
      : data_(static_cast<std::byte*>(data)), bytes_(bytes), kind_(kind), deleter_(deleter), context_(context) {}
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    Buffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Buffer() {
    if (deleter_ != nullptr) deleter_(data_, bytes_, context_);
  }

  // Zeroed host memory, aligned to `alignment` (a power of two, >= 64). Ends the program when the
  // system has none: callers reserve against a budget first.
  static Buffer Host(size_t bytes, size_t alignment = 64);

  std::byte* data() const { return data_; }
  size_t size() const { return bytes_; }
  MemoryKind kind() const { return kind_; }
  MutableBytes span() const { return {data_, bytes_}; }

  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  // A packed view of the first elements.
  TensorView View(DType dtype, Shape shape) const;

  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(kind_, other.kind_);
    std::swap(deleter_, other.deleter_);
    std::swap(context_, other.context_);
  }

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
  MemoryKind kind_ = MemoryKind::kHost;
  Deleter deleter_ = nullptr;
  void* context_ = nullptr;
};

// Gives the memory under the whole pages of `bytes`, which lie in a Buffer::Host, back to the system. What they held is
// lost; they take memory again, zeroed, once they are touched.
void DiscardHostPages(MutableBytes bytes);

}  // namespace nosa
